"""``profile check``: does a profile make sense, and do its stated errors hold?"""

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from bros_sim.cli.errors import FAILED
from bros_sim.cli.profile_derive import TablesOption
from bros_sim.cli.run import Format, FormatOption

if TYPE_CHECKING:
    from bros_sim.calibration.check import Checked


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
    from bros_sim.calibration.check import check_profile
    from bros_sim.profiles.profile import profile_ids

    checked = [check_profile(name, tables) for name in profiles or profile_ids()]
    if form is Format.JSON:
        sys.stdout.write(json.dumps([_summary(item) for item in checked], indent=1) + "\n")
    else:
        for item in checked:
            sys.stdout.write("".join(f"{line}\n" for line in _lines(item)))
        sound = sum(not item.problems for item in checked)
        sys.stdout.write(f"{sound}/{len(checked)} profiles pass\n")
    if any(item.problems for item in checked):
        raise typer.Exit(FAILED)


def _lines(checked: "Checked") -> list[str]:
    errors = [
        f"{kind} MAPE {error.mape_pct:.2f} p95 {error.p95_pct:.2f} bias {error.bias_pct:.2f} %"
        for kind, error in checked.errors.items()
    ]
    told = "; ".join(errors) or "no error computed again"
    verdict = "FAILS" if checked.problems else "ok"
    return [f"{checked.id}: {verdict}; {told}", *(f"  {problem}" for problem in checked.problems)]


def _summary(checked: "Checked") -> dict[str, object]:
    from bros_sim.config.components import plain

    return {
        "id": checked.id,
        "label": checked.label,
        "ok": not checked.problems,
        "faults": list(checked.problems),
        "errors": {kind: plain(error) for kind, error in checked.errors.items()},
        "not_computed": list(checked.not_computed),
    }
