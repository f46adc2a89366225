"""``report``: one HTML page about a finished run."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import pandas as pd

EXTRA = "a report needs the extra: pip install 'bros-sim[report]'"


def report(
    results: Annotated[Path, typer.Argument(help="Folder of a finished run: results/NAME.")],
) -> None:
    """Write one HTML page about a finished run (`report.html`), to open in any browser, offline.

    It holds the table, attainment curves with their intervals, what real time and best effort
    get, latency CDFs, timelines, saturation verdicts, warnings, provenance and the experiment.
    Needs the extra `report`.

    Example: `bros-sim report results/quickstart`
    """
    from bros_sim.core.errors import InputError
    from bros_sim.study.store import open_results, replace_file

    found, _ = open_results(results)
    try:
        from bros_sim.report.page import render_page
    except ModuleNotFoundError as error:
        raise InputError(f"{EXTRA} ({error})") from None
    try:
        page = render_page(found, _provenance(results), _capacity(results))
    except (OSError, ValueError) as error:
        what = " ".join(str(error).split())
        raise InputError(f"{results}: damaged, run it again: {what}") from None
    path = results / "report.html"
    replace_file(path, page)
    sys.stdout.write(f"{path}\n")


def _provenance(folder: Path) -> dict[str, Any]:
    import json

    content: dict[str, Any] = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    return content


def _capacity(folder: Path) -> "pd.DataFrame":
    import pandas as pd

    path = folder / "capacity.csv"
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()
