"""The systems of a run against one of them: paired differences, single requests, a verdict."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bros_sim.config.messages import nearest
from bros_sim.core.errors import InputError
from bros_sim.core.labels import short_names
from bros_sim.metrics.measures import WORDS, Measure
from bros_sim.metrics.paired import COLUMNS, SLO, changed_most, paired, same_requests, slo_turns
from bros_sim.report.tables import Part, Printed, Row, Table, plain_rows, records
from bros_sim.report.verdict import amount, signed, unit, verdict
from bros_sim.study.results import PointResult, ResultSet, show_label, undamaged
from bros_sim.study.store import opened

SHOWN = (
    "slo_attainment[rt]", "mean_ttft_ms[rt]", "p99_ttft_ms[rt]", "mean_tpot_ms[rt]",
    "p99_tpot_ms[rt]", "mean_e2e_ms[be]", "output_throughput_steady[be]", "be_retention[be]",
)  # fmt: skip
IN_VERDICT = (
    "slo_attainment[rt]", "mean_ttft_ms[rt]", "mean_tpot_ms[rt]", "output_throughput_steady[be]",
)  # fmt: skip
"""Those of them that the verdict speaks of."""
WIDTH = 110  # letters in a line of the verdict
MOST = 5  # how many single requests are shown of each system
TURNS = (*SLO.values(), "neither")
SIDES = ("_baseline", "_system")


@dataclass(frozen=True)
class Comparison(Printed):
    """The systems of a finished run against ``baseline``, over the same seeds.

    ``differences`` are the rows of `paired`: one per measure, system and point of the other axes.
    """

    name: str
    baseline: str
    differences: pd.DataFrame
    slo_by_request: pd.DataFrame
    changed_most: pd.DataFrame
    verdict: str
    by: Sequence[str]

    def parts(self) -> Iterator[Part]:
        names = list(short_names(self.by).values())
        for _, group in self.differences.groupby(["metric", "class"], sort=False):
            yield _differences(group, self.by, names, self.baseline)
        sides = f"(A: {self.baseline}, B: the system):"
        if len(self.slo_by_request):
            rows = records(self.slo_by_request)
            shown = [[*_cell(row, self.by), *(f"{row[n]:,}" for n in TURNS)] for row in rows]
            headings = ["B", *names, "under both", "only A", "only B", "neither"]
            yield Table(headings, shown, f"Requests that met their SLO {sides}")
        if len(self.changed_most):
            what = "Requests that changed most, of those that arrive at the same time under both"
            headings = ["B", *names, "seed", "request", "class", "TTFT s", "E2E s", "SLO"]
            rows = records(self.changed_most)
            shown = [[*_cell(row, self.by), str(row["seed"]), *_request(row)] for row in rows]
            yield Table(headings, shown, f"{what} {sides}")
        yield f"\n{textwrap.fill(self.verdict, WIDTH)}"

    def plain(self) -> dict[str, object]:
        return {
            "name": self.name, "baseline": self.baseline, "verdict": self.verdict,
            "comparisons": plain_rows(self.differences),
            "slo_by_request": plain_rows(self.slo_by_request),
            "changed_most": plain_rows(self.changed_most),
        }  # fmt: skip


def compare(
    results: ResultSet | str | Path, baseline: str | None = None, metrics: Sequence[str] = ()
) -> Comparison:
    """The systems of a finished run against one of them, by default the first, seed by seed.

    An `InputError` says that a metric or the system is unknown, that there is nothing to compare,
    or that a file of the results is damaged.
    """
    found = opened(results)
    measures = [Measure.parse(text, "--metric") for text in metrics or SHOWN]
    chosen = _baseline(found, baseline)
    by = [name for name in found.points[0].labels if name not in {"system", "seed"}]
    rows = paired(found.table(), found.draws(), by, chosen, measures)
    named = rows["metric"] + "[" + rows["class"] + "]"
    judged = rows if metrics else rows[named.isin(IN_VERDICT)]
    turns, changed = _request_tables(found, chosen)
    words = verdict(judged, by, chosen)
    return Comparison(found.name, chosen, rows, turns, changed, words, by)


def _baseline(found: ResultSet, wanted: str | None) -> str:
    """The system to compare with; an `InputError` without it, or without another one."""
    systems = list(dict.fromkeys(str(point.labels["system"]) for point in found.points))
    if wanted is not None and wanted not in systems:
        what = f"there is no system '{wanted}'{nearest(wanted, systems)}"
        raise InputError(f"{found.folder}: --baseline: {what}")
    if len(systems) < 2:
        what = f"it has one system, {systems[0]}: there is nothing to compare"
        raise InputError(f"{found.folder}: {what}")
    return wanted or systems[0]


def _cell(row: Row, by: Sequence[str]) -> list[str]:
    return [str(row[name]) for name in ("system", *by)]


def _differences(rows: pd.DataFrame, by: Sequence[str], names: list[str], baseline: str) -> Table:
    measure = Measure(rows["metric"].iloc[0], rows["class"].iloc[0])
    meaning = measure.meaning
    good = f", {meaning.better} is better" if meaning.better else ""
    percentile = meaning.label.split()[0] if meaning.label.startswith("p") else ""
    mean = f"; means of the seeds' {percentile}" if percentile else ""
    title = f"{meaning.label}, {WORDS[measure.service_class]} ({measure.unit}{good}{mean}):"
    draws = bool(rows["draws"].any())
    body = [[*_cell(row, by), *_numbers(row, measure, draws=draws)] for row in records(rows)]
    extra = ["draws agree"] if draws else []
    tests = ["t p", "Wilcoxon p", "seeds", *extra]
    headings = ["system", *names, baseline, "here", "difference (95 %)", *tests, "in words", "load"]
    return Table(headings, body, title)


def _numbers(row: Row, measure: Measure, *, draws: bool) -> Iterator[str]:
    yield from (amount(measure, row[name]) for name in ("baseline", "mean"))
    yield difference(row, measure)
    yield from (_chance(row[name]) for name in ("p_t", "p_wilcoxon"))
    yield str(row["seeds"])
    if draws:
        yield f"{row['agreeing']} of {row['draws']}"
    yield from (signed(row), row["load"] or "stable")


def difference(row: Row, measure: Measure) -> str:
    """``+3.1 points (+1.2 to +5)``."""
    mean, low, high = (
        ("+" if row[end] > 0 else "") + amount(measure, row[end])
        for end in ("difference", "low", "high")
    )
    interval = "" if math.isnan(row["low"]) else f" ({low} to {high})"
    return f"{mean} {unit(measure)}{interval}"


def _chance(p: float) -> str:
    return "-" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.2g}"


def _request(row: Row) -> Iterator[str]:
    yield from (row["request_id"], row["class"])
    for name in ("ttft_s", "e2e_s"):
        sides = (row[f"{name}{side}"] for side in SIDES)
        yield " → ".join("never" if math.isnan(value) else f"{value:.3f}" for value in sides)
    yield " → ".join(_met(row, side) for side in SIDES)


def _met(row: Row, side: str) -> str:
    if row[f"status{side}"] != "completed":
        return str(row[f"status{side}"])
    met = row[f"slo_met{side}"]
    return "none" if pd.isna(met) else "met" if met else "missed"


def _request_tables(found: ResultSet, baseline: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How the SLO verdicts turned at each point of the grid, and the requests that changed most."""
    partners = {_place(p): p for p in found.points if p.labels["system"] == baseline}
    turns: list[dict[str, object]] = []
    changed: dict[str, list[pd.DataFrame]] = {}
    for point in found.points:
        partner = partners.get(_place(point))
        if point.labels["system"] == baseline or partner is None or partner.error or point.error:
            continue
        both = same_requests(_requests(partner), _requests(point))
        warmups = (one.summary["all"].get("warmup_s") for one in (partner, point))
        both = both[both["arrival_s"] >= max(float(known or 0.0) for known in warmups)]
        labels: dict[str, Any] = {n: show_label(value) for n, value in point.labels.items()}
        turns.append({**labels, **slo_turns(both)})
        most = changed_most(both, MOST).assign(**labels)
        changed.setdefault(str(labels["system"]), []).append(most)
    tops = [changed_most(pd.concat(frames), MOST) for frames in changed.values()]
    return _summed(pd.DataFrame(turns)), pd.concat(tops) if tops else pd.DataFrame()


def _summed(turns: pd.DataFrame) -> pd.DataFrame:
    """Over the seeds; points without any request that has an SLO are out."""
    if turns.empty:
        return turns
    keys = [name for name in turns if name not in {"seed", *TURNS}]
    summed = turns.groupby(keys, sort=False, dropna=False)[list(TURNS)].sum().reset_index()
    return summed[summed[list(TURNS)].sum(axis=1) > 0]


def _place(point: PointResult) -> str:
    """The point of the grid and the seed, whatever the system."""
    return repr([value for name, value in point.labels.items() if name != "system"])


def _requests(point: PointResult) -> pd.DataFrame:
    with undamaged(point.folder):
        return point.requests(COLUMNS)
