"""A comparison in words: no more than its intervals support."""

from collections.abc import Iterator, Sequence

import pandas as pd

from bros_sim.core.labels import short_names
from bros_sim.metrics.measures import WORDS, Measure
from bros_sim.metrics.paired import EQUAL, HIGHER, LOWER, ONE_SEED, UNDECIDED
from bros_sim.report.tables import Row, number, records

NAMED = 3  # up to so many points are named, more are counted
CHANCE = 20  # of so many intervals that hold nothing, one excludes 0 at 95 %


def signed(row: Row) -> str:
    """One row's sign in words: which way, and whether that is good."""
    if row["verdict"] in {HIGHER, LOWER}:
        better = Measure(row["metric"], row["class"]).meaning.better
        good = "better" if better == row["verdict"] else "worse"
        return f"{row['verdict']}, {good}" if better else str(row["verdict"])
    if row["verdict"] == ONE_SEED:
        return "one seed: no interval"
    return f"undecided: {row['why']}" if row["why"] else str(row["verdict"])


def verdict(rows: pd.DataFrame, by: Sequence[str], baseline: str) -> str:
    """One paragraph about the rows of `paired`."""
    if rows.empty:
        return "There is nothing that both systems measured."
    least, most = int(rows["seeds"].min()), int(rows["seeds"].max())
    many = f"{least}" if least == most else f"{least} to {most}"
    said = [f"Against {baseline}, over the same {'seed' if most == 1 else f'{many} seeds'}:"]
    for system, group in rows.groupby("system", sort=False):
        clauses = (_measure(mine, by) for _, mine in group.groupby(["metric", "class"], sort=False))
        said.append(f"{system}: {'; '.join(clauses)}.")
    return " ".join([*said, *_caveats(rows)])


def _measure(rows: pd.DataFrame, by: Sequence[str]) -> str:
    """What one measure does at all points: ``TTFT (real-time) is higher at ..., undecided at``."""
    points = records(rows)
    measure = Measure(points[0]["metric"], points[0]["class"])
    kinds = (HIGHER, LOWER, EQUAL, UNDECIDED, ONE_SEED)
    grouped = {what: [row for row in points if row["verdict"] == what] for what in kinds}
    parts = [
        _claim(what, mine, measure) + _where(mine, len(points), by)
        for what, mine in grouped.items()
        if mine
    ]
    return f"{measure.meaning.label} ({WORDS[measure.service_class]}) is {', '.join(parts)}"


def _claim(what: str, rows: Sequence[Row], measure: Measure) -> str:
    if what == ONE_SEED:
        return "not judged"
    if what in {EQUAL, UNDECIDED}:
        return what
    ends = [abs(row[end]) for row in rows for end in ("low", "high")]
    least, most = (amount(measure, end) for end in (min(ends), max(ends)))
    return f"{what} by {least} to {most} {unit(measure)}"


def unit(measure: Measure) -> str:
    """Of a difference: shares differ by points of per cent."""
    return "points" if measure.is_share else measure.meaning.unit


def amount(measure: Measure, value: float) -> str:
    """A number of this measure, shares in per cent."""
    return number(measure.scale * value)


def _where(rows: Sequence[Row], points: int, by: Sequence[str]) -> str:
    """Nothing where it holds at all points; else at which or at how many."""
    if len(rows) == points:
        return "" if points == 1 else " everywhere"
    if len(rows) > NAMED:
        return f" at {len(rows)} of {points} points"
    names = short_names(by)
    points_named = (", ".join(f"{names[name]} = {row[name]}" for name in by) for row in rows)
    return f" at {' and '.join(points_named)}"


def _caveats(rows: pd.DataFrame) -> Iterator[str]:
    tests = int((rows["seeds"] > 1).sum())
    if not tests:
        yield "One seed says nothing about chance: set sweep.seeds to 5 or more."
        return
    if tests >= CHANCE:
        chance = f"of {tests} about {tests / CHANCE:.0f} would exclude 0 by chance alone"
        yield f"Each interval is 95 % by itself: {chance}."
    loads = {word for text in rows["load"] for word in text.replace(",", " /").split(" / ")}
    if wrong := sorted(loads - {"", "stable"}):
        words = " or ".join(wrong)
        yield f"Where a run is {words}, its numbers depend on duration_s and are no steady state."
