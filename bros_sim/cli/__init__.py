"""The command line. Verbs import what is heavy inside, so that ``--help`` answers at once."""

import sys
from typing import Annotated

import typer

from bros_sim.cli import (
    capacity,
    compare,
    conformance,
    doctor,
    explain,
    init,
    listing,
    plot,
    profile,
    profile_check,
    profile_derive,
    profile_fit,
    report,
    run,
    timeline,
    trace,
    tune,
    validate,
)
from bros_sim.cli.errors import VerbGroup
from bros_sim.core.version import VERSION

__all__ = ["app", "main"]

app = typer.Typer(
    name="bros-sim",
    cls=VerbGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start: `bros-sim init demo`, then `bros-sim run demo/experiment.yaml`.",
)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"bros-sim {VERSION}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Simulate LLM serving clusters that mix real-time and best-effort requests.

    Results go to stdout, progress and diagnostics to stderr. Exit codes: 0 fine, 1 a run failed
    or a check fell short, 2 bad input, 130 interrupted.
    """


app.command("run")(run.run)
app.command("check")(run.check)
app.command("capacity")(capacity.capacity)
app.command("tune")(tune.tune)
app.command("compare")(compare.compare)
app.command("explain")(explain.explain)
app.command("plot")(plot.plot)
app.command("report")(report.report)
app.command("timeline")(timeline.timeline)
app.command("validate")(validate.validate)
app.command("init")(init.init)
app.command("list")(listing.list_kinds)
app.command("schema")(listing.schema)
app.command("doctor")(doctor.doctor)
profile.app.command("fit")(profile_fit.fit)
profile.app.command("derive")(profile_derive.derive)
profile.app.command("check")(profile_check.check)
app.add_typer(profile.app, name="profile")
app.add_typer(trace.app, name="trace")
app.add_typer(conformance.app, name="conformance")


def main() -> None:
    """Entry point of the command ``bros-sim``."""
    app()
