"""The tables of ``compare``: a paired one for each measure, and single requests."""

import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from bros_sim.core.errors import InputError
from bros_sim.core.labels import short_names
from bros_sim.metrics.changed import COLUMNS, SLO, changed_most, same_requests, slo_turns
from bros_sim.metrics.measures import WORDS, Measure
from bros_sim.report.terminal import print_table
from bros_sim.report.verdict import Row, amount, records, signed, unit
from bros_sim.study.results import PointResult, ResultSet, show_label

MOST = 5
"""How many single requests are shown of each system."""
TURNS = (*SLO.values(), "neither")


def print_comparison(
    rows: pd.DataFrame, turns: pd.DataFrame, changed: pd.DataFrame, by: Sequence[str], baseline: str
) -> None:
    """What `paired` and `request_tables` found."""
    names = list(short_names(by).values())
    for _, group in rows.groupby(["metric", "class"], sort=False):
        _print_measure(group, by, names, baseline)
    if len(turns):
        sys.stdout.write(f"\nRequests that met their SLO (A: {baseline}, B: the system):\n")
        shown = [[*_cell(row, by), *(f"{row[n]:,}" for n in TURNS)] for row in records(turns)]
        print_table(["B", *names, "under both", "only A", "only B", "neither"], shown)
    if len(changed):
        what = "Requests that changed most, of those that arrive at the same time under both"
        sys.stdout.write(f"\n{what} (A: {baseline}, B: the system):\n")
        headings = ["B", *names, "seed", "request", "class", "TTFT s", "E2E s", "SLO"]
        shown = [[*_cell(row, by), str(row["seed"]), *_request(row)] for row in records(changed)]
        print_table(headings, shown)


def _cell(row: Row, by: Sequence[str]) -> list[str]:
    return [str(row[name]) for name in ("system", *by)]


def _print_measure(rows: pd.DataFrame, by: Sequence[str], names: list[str], baseline: str) -> None:
    measure = Measure(rows["metric"].iloc[0], rows["class"].iloc[0])
    meaning = measure.meaning
    unit_of = "%" if measure.is_share else meaning.unit
    good = f", {meaning.better} is better" if meaning.better else ""
    percentile = meaning.label.split()[0] if meaning.label.startswith("p") else ""
    mean = f"; means of the seeds' {percentile}" if percentile else ""
    title = f"{meaning.label}, {WORDS[measure.service_class]} ({unit_of}{good}{mean})"
    sys.stdout.write(f"\n{title}:\n")
    draws = bool(rows["draws"].any())
    body = [[*_cell(row, by), *_numbers(row, measure, draws=draws)] for row in records(rows)]
    extra = ["draws agree"] if draws else []
    tests = ["t p", "Wilcoxon p", "seeds", *extra]
    headings = ["system", *names, baseline, "here", "difference (95 %)", *tests, "in words", "load"]
    print_table(headings, body)


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
    if math.isnan(p):
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def _request(row: Row) -> Iterator[str]:
    yield from (row["request_id"], row["class"])
    for name in ("ttft_s", "e2e_s"):
        yield " → ".join(_seconds(row[f"{name}{side}"]) for side in ("_baseline", "_system"))
    yield " → ".join(_met(row, side) for side in ("_baseline", "_system"))


def _seconds(value: float) -> str:
    return "never" if math.isnan(value) else f"{value:.3f}"


def _met(row: Row, side: str) -> str:
    if row[f"status{side}"] != "completed":
        return str(row[f"status{side}"])
    met = row[f"slo_met{side}"]
    return "none" if pd.isna(met) else "met" if met else "missed"


def request_tables(found: ResultSet, baseline: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How the SLO verdicts turned at each point of the grid, and the requests that changed most.

    Raises:
        InputError: A file of the results is damaged.
    """
    partners = {_place(p): p for p in found.points if p.labels["system"] == baseline}
    turns: list[dict[str, object]] = []
    changed: dict[str, list[pd.DataFrame]] = {}
    for point in found.points:
        partner = partners.get(_place(point))
        if point.labels["system"] == baseline or partner is None or partner.error or point.error:
            continue
        both = same_requests(_requests(partner), _requests(point))
        both = both[both["arrival_s"] >= max(_warmup_s(partner), _warmup_s(point))]
        labels: dict[str, Any] = {n: show_label(value) for n, value in point.labels.items()}
        turns.append({**labels, **slo_turns(both)})
        mine = changed.setdefault(str(labels["system"]), [])
        mine.append(changed_most(both, MOST).assign(**labels))
    most = [changed_most(pd.concat(frames), MOST) for frames in changed.values()]
    return _summed(pd.DataFrame(turns)), pd.concat(most) if most else pd.DataFrame()


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


def _warmup_s(point: PointResult) -> float:
    """Results of older versions do not say."""
    return float(point.summary["all"].get("warmup_s") or 0.0)


def _requests(point: PointResult) -> pd.DataFrame:
    try:
        return point.requests(COLUMNS)
    except (OSError, ValueError) as error:
        what = " ".join(str(error).split())
        raise InputError(f"{point.folder}: damaged, run it again: {what}") from None
