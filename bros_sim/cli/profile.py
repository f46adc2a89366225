"""``profile``: what is known of a GPU and model, and what an iteration costs on them."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bros_sim.cli import profile_import, profile_measure, profile_plan
from bros_sim.cli.run import Format, FormatOption

if TYPE_CHECKING:
    from bros_sim.profiles.profile import Profile

app = typer.Typer(no_args_is_help=True, help="List, show and make GPU profiles.")
app.command("plan")(profile_plan.plan)
app.command("measure")(profile_measure.measure)
app.command("import")(profile_import.import_results)

ProfileName = Annotated[
    str, typer.Argument(metavar="PROFILE", help="Id of a shipped profile, or a YAML file.")
]


@app.command("list")
def list_profiles(form: FormatOption = Format.TABLE) -> None:
    """List the shipped profiles: label, KV blocks and fit error.

    Example: `bros-sim profile list`
    """
    from bros_sim.profiles.profile import load_profile, profile_ids

    profiles = [load_profile(name) for name in profile_ids()]
    if form is Format.JSON:
        _print_json([_summary(profile) for profile in profiles])
        return
    from rich import box
    from rich.table import Table

    table = Table("profile", "label", "model", box=box.SIMPLE_HEAD)
    table.columns[0].no_wrap = True
    for header in ("KV blocks", "MAPE %", "p95 %"):
        table.add_column(header, justify="right")
    for profile in profiles:
        error = profile.errors[profile.default_model]
        blocks = f"{profile.kv.num_gpu_blocks:,}"
        percents = _percent(error.mape_pct), _percent(error.p95_pct)
        table.add_row(profile.id, profile.label, profile.default_model, blocks, *percents)
    _print_table(table)
    sys.stdout.write("- not published; `profile show` says what an error is measured against\n")


@app.command("show")
def show(
    name: ProfileName,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the iteration times.")
    ] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Print all facts of a profile; optionally draw what iterations cost.

    Example: `bros-sim profile show a100-80gb/llama-3-8b-tp1 --plot a100.png`
    """
    from bros_sim.core.errors import InputError
    from bros_sim.profiles.profile import load_profile

    profile = load_profile(name)
    if plot is not None and plot.suffix.lower() not in {".png", ".svg", ".pdf"}:
        raise InputError(f"--plot {plot}: the name must end in .png, .svg or .pdf")
    facts = _facts(profile)
    if form is Format.JSON:
        _print_json(facts)
    else:
        _print_facts(facts)
    if plot is not None:
        from bros_sim.cli.profile_figure import draw

        draw(profile, plot)
        sys.stderr.write(f"{plot} written\n")


def _summary(profile: "Profile") -> dict[str, object]:
    return {
        "id": profile.id,
        "label": profile.label,
        "default_model": profile.default_model,
        "num_gpu_blocks": profile.kv.num_gpu_blocks,
        "kv_bytes_per_token": profile.kv_bytes_per_token,
        "errors": {kind: dataclasses.asdict(error) for kind, error in profile.errors.items()},
    }


def _facts(profile: "Profile") -> dict[str, object]:
    """The file's content, what follows from it, and a few iteration times to judge it by."""
    from bros_sim.config.components import plain
    from bros_sim.engine.latency_model import StepShape

    model = profile.models.by_kind()[profile.default_model].make()
    times = {
        "decode 1 request, 1,024 KV tokens": StepShape((), 1, 1024),
        "decode 64 requests, 65,536 KV tokens": StepShape((), 64, 65536),
        "prefill 512 tokens": StepShape(((512, 0),), 0, 0),
        "prefill 2,048 tokens": StepShape(((2048, 0),), 0, 0),
        "prefill 512 tokens beside 64 decodes": StepShape(((512, 0),), 64, 65536),
    }
    return {
        **plain(profile),
        "kv_bytes_per_token": profile.kv_bytes_per_token,
        "iteration_ms": {what: round(1e3 * model.step_s(it), 3) for what, it in times.items()},
    }


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=1) + "\n")


def _print_facts(facts: dict[str, object]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    for key, value in _flat(facts, ""):
        table.add_row(Text(key), Text(value))
    _print_table(table)


def _flat(value: object, key: str) -> list[tuple[str, str]]:
    """Nested mappings and lists of mappings as ``a.b.0.c`` -> text; what is empty is left out."""
    if isinstance(value, list) and value and isinstance(value[0], dict | str):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        below = ((f"{key}.{name}" if key else str(name), item) for name, item in value.items())
        return [line for name, item in below for line in _flat(item, name)]
    if value is None:
        return []
    return [(key, value if isinstance(value, str) else json.dumps(value))]


def _print_table(table: object) -> None:
    """To stdout; as wide as the terminal, and wide enough where there is none."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 120
    Console(file=sys.stdout, highlight=False, width=width).print(table)
