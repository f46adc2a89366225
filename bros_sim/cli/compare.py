"""``compare``: the systems of a finished run against one of them, seed by seed."""

import json
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bros_sim.cli.run import Format, FormatOption

if TYPE_CHECKING:
    import pandas as pd

    from bros_sim.study.results import ResultSet

SHOWN = (
    "slo_attainment[rt]", "mean_ttft_ms[rt]", "p99_ttft_ms[rt]", "mean_tpot_ms[rt]",
    "p99_tpot_ms[rt]", "mean_e2e_ms[be]", "output_throughput_steady[be]", "be_retention[be]",
)  # fmt: skip
TOLD = (
    "slo_attainment[rt]",
    "mean_ttft_ms[rt]",
    "mean_tpot_ms[rt]",
    "output_throughput_steady[be]",
)
"""Those of them that the verdict speaks of."""
WIDTH = 110
"""Letters in a line of the verdict."""


def compare(
    results: Annotated[Path, typer.Argument(help="Folder of a finished run: results/NAME.")],
    baseline: Annotated[
        str | None, typer.Option(metavar="SYSTEM", help="What to compare with; the first system.")
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            metavar="METRIC[CLASS]",
            help="Compare this instead, e.g. `p95_ttft_ms[rt]`; may be repeated.",
        ),
    ] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Compare the systems of a finished run: differences over the same seeds, and a verdict.

    All systems get the same arrivals, so what chance gives to one it gives to the other, and the
    difference within a seed says more than two means. Each has a 95 % t interval and the chances
    of a t and a Wilcoxon test. Below: the requests that changed most, and what all of this
    supports, in words.

    Examples:
    `bros-sim compare results/quickstart --baseline "vLLM FCFS"`

    `bros-sim compare results/quickstart --metric p95_ttft_ms[rt] --format json`
    """
    from bros_sim.metrics.measures import Measure
    from bros_sim.metrics.paired import paired
    from bros_sim.report.compared import print_comparison, request_tables
    from bros_sim.report.verdict import verdict
    from bros_sim.study.store import open_results

    measures = [Measure.parse(text, "--metric") for text in metrics or SHOWN]
    found, _ = open_results(results)
    chosen = _baseline(found, baseline)
    by = [name for name in found.points[0].labels if name not in {"system", "seed"}]
    rows = paired(found.table(), found.draws(), by, chosen, measures)
    said = verdict(rows if metrics else _told(rows), by, chosen)
    turns, changed = request_tables(found, chosen)
    if form is Format.JSON:
        tables = {"comparisons": rows, "slo_by_request": turns, "changed_most": changed}
        content = {key: json.loads(t.to_json(orient="records")) for key, t in tables.items()}
        whole = {"name": found.name, "baseline": chosen, "verdict": said, **content}
        sys.stdout.write(json.dumps(whole, indent=1) + "\n")
        return
    print_comparison(rows, turns, changed, by, chosen)
    sys.stdout.write(f"\n{textwrap.fill(said, WIDTH)}\n")


def _told(rows: "pd.DataFrame") -> "pd.DataFrame":
    return rows[(rows["metric"] + "[" + rows["class"] + "]").isin(TOLD)]


def _baseline(found: "ResultSet", wanted: str | None) -> str:
    """The system to compare with.

    Raises:
        InputError: There is no such system, or no other one.
    """
    from bros_sim.config.messages import nearest
    from bros_sim.core.errors import InputError

    systems = list(dict.fromkeys(str(point.labels["system"]) for point in found.points))
    if wanted is not None and wanted not in systems:
        what = f"there is no system '{wanted}'{nearest(wanted, systems)}"
        raise InputError(f"{found.folder}: --baseline: {what}")
    if len(systems) < 2:
        what = f"it has one system, {systems[0]}: there is nothing to compare"
        raise InputError(f"{found.folder}: {what}")
    return wanted or systems[0]
