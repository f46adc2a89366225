"""``profile check``: does a profile make sense, and do its stated errors hold?"""

from typing import Annotated

import typer

from bros_sim.calibration.check import check_profile
from bros_sim.cli.options import Format, FormatOption, TablesOption
from bros_sim.cli.printing import show
from bros_sim.cli.verbs import FAILED
from bros_sim.profiles.profile import profile_ids
from bros_sim.report.profiles import Checks


def check(
    profiles: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PROFILE]...", help="Ids or YAML files; all shipped by default."),
    ] = None,
    tables: TablesOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Check profiles: structure, units, physical sense, and their stated errors computed again.

    Exit code 1 if a check falls short.

    Example: `bros-sim profile check a100-80gb/llama-3-8b-tp1 --tables ../shared/data/profiles`
    """
    checks = Checks([check_profile(name, tables) for name in profiles or profile_ids()])
    show(checks, form)
    if not checks.passed:
        raise typer.Exit(FAILED)
