"""When to choose a policy, in a sentence that follows from the numbers by fixed rules."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pandas as pd

from benchmarks.rivals.evidence import ATTAINMENT, CLASSES, RETENTION, Comparison

LIGHT, BOTH = "light", "both"
USEFUL = 0.5
"""Share of RT in time from which leading in it means something."""


@dataclass
class Standing:
    """What a policy is worth over all cases; a case is a place at a load, hard unless light."""

    cases: int = 0
    front: Counter[str] = field(default_factory=Counter)
    """Load -> cases in which nobody beats it."""
    leads: Counter[str] = field(default_factory=Counter)
    """Measure -> hard cases in which it is on the front and leads there; also BOTH.

    In RT only where at least half of it is in time.
    """
    beaten: Counter[str] = field(default_factory=Counter)
    """Other policy -> cases in which that one beats it."""


def standings(table: pd.DataFrame) -> dict[str, Standing]:
    """The standing of every system over all places and loads of `read_places`."""
    found = {str(system): Standing() for system in table["system"].unique()}
    for (_, load), part in table.groupby(["place", "load"], sort=False):
        comparison = Comparison(part)
        others = comparison.beaten_by()
        front = [system for system, winners in others.items() if not winners]
        for system, winners in others.items():
            found[system].cases += 1
            found[system].beaten.update(winners)
            found[system].front[str(load)] += not winners
        if load != LIGHT:
            first = {measure: set(comparison.leaders(measure, front)) for measure in CLASSES}
            served = part.groupby("system")[ATTAINMENT].mean()
            first[ATTAINMENT] &= set(served.index[served >= USEFUL])
            first[BOTH] = set.intersection(*first.values())
            for measure, leaders in first.items():
                for system in leaders:
                    found[system].leads[measure] += 1
    return found


def advice(system: str, standing: Standing, table: pd.DataFrame) -> str:
    """One sentence; ``table`` is that of all places and loads."""
    hard = table[table["load"] != LIGHT]
    cases = len(hard[["place", "load"]].drop_duplicates())
    front = sum(n for load, n in standing.front.items() if load != LIGHT)
    rt, be, both = (standing.leads[measure] for measure in (ATTAINMENT, RETENTION, BOTH))
    if not front:
        return _never(standing, cases)
    paid = "; ".join(_price(hard[hard["system"] == system]))
    if both >= cases / 2:
        return f"Choose it: first in both classes in {both} of {cases} hard cases; {paid}."
    if max(rt, be) >= cases / 4:
        what, n = ("RT must not be late", rt) if rt >= be else ("batch work must go on", be)
        first = "no one serves more RT in time" if rt >= be else "no one keeps more BE"
        return f"Choose it when {what}: {first} in {n} of {cases} hard cases; {paid}."
    return f"A compromise: unbeaten in {front} of {cases} hard cases, seldom first; {paid}."


def _never(standing: Standing, cases: int) -> str:
    rival, n = standing.beaten.most_common(1)[0]
    beaten = f"{rival} beats it in {n} of {standing.cases} cases"
    return f"No reason to choose it in any of {cases} hard cases: {beaten}, light ones included."


def _price(mine: pd.DataFrame) -> Iterator[str]:
    """What it serves, as medians over the hard cases, and what that costs."""
    middle = mine.groupby(["place", "load"])[[ATTAINMENT, RETENTION]].mean().median()
    rt, be = 100 * middle[ATTAINMENT], 100 * middle[RETENTION]
    yield f"median {rt:.0f} % of RT in time and {be:.0f} % of BE kept"
    waste = mine["recomputed"].mean()
    if waste >= 1:
        yield f"{waste:.0f} tokens recomputed a request"
    yield f"a BE waits up to {mine['longest_be_wait_s'].max():.0f} s"
