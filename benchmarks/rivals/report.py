"""The document: docs/rivals.md from the table of all runs."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from benchmarks.paired import Estimate, Row, markdown, mean, values, verdicts, where
from benchmarks.rivals.advice import LIGHT, advice, standings
from benchmarks.rivals.evidence import BASELINE, MARGIN, MEASURES, Comparison, Measure
from benchmarks.rivals.places import LOADS, Place

TEMPLATE = Path(__file__).with_name("template.md")
PLACES_HEAD = ("machine and workload", "profile", "SLO: TTFT, TPOT", "RT/s")
CHOICE_HEAD = ("system", "mirrors", *(f"unbeaten, {load}" for load in LOADS), "when to choose it")


def document(
    table: pd.DataFrame, places: Sequence[Place], slos: Sequence[str], mirrors: Mapping[str, str]
) -> str:
    """The whole document as Markdown: the template with its tables.

    Args:
        table: All runs, as `read_places` makes them.
        places: Where they were made.
        slos: The RT SLO of each place, in words.
        mirrors: System -> what it mirrors.
    """
    hard = " and ".join(load for load in LOADS if load != LIGHT)
    parts = {
        "seeds": str(table["seed"].nunique()),
        "baseline": BASELINE,
        "hard": hard,
        "margin": f"{100 * MARGIN:g}",
        "places": markdown(PLACES_HEAD, _places(places, slos)),
        "choice": markdown(CHOICE_HEAD, _choice(table, mirrors)),
        "tables": "\n".join(_tables(table, places)),
    }
    return TEMPLATE.read_text(encoding="utf-8").format(**parts)


def _places(places: Sequence[Place], slos: Sequence[str]) -> Iterator[Row]:
    for place, slo in zip(places, slos, strict=True):
        rates = ", ".join(f"{rate:g}" for rate in place.rates)
        yield (place.title, f"`{place.profile}`", slo, rates)


def _choice(table: pd.DataFrame, mirrors: Mapping[str, str]) -> Iterator[Row]:
    of = table["place"].nunique()
    for system, standing in standings(table).items():
        unbeaten = [f"{standing.front[load]} of {of}" for load in LOADS]
        yield (system, mirrors[system], *unbeaten, advice(system, standing, table))


def _tables(table: pd.DataFrame, places: Sequence[Place]) -> Iterator[str]:
    compared = [
        f"{m.title.partition(',')[0]}: - {BASELINE}" for m in MEASURES.values() if m.compared
    ]
    head = ("system", *(m.title for m in MEASURES.values()), *compared, "RT saturation")
    for place in places:
        yield f"### {place.title}\n"
        for load in LOADS:
            part = where(table, place=place.name, load=load)
            yield f"{load.capitalize()}, {part['rate'].iloc[0]:g} RT/s:\n"
            yield markdown(head, _rows(part))


def _rows(part: pd.DataFrame) -> Iterator[Row]:
    comparison = Comparison(part)
    for system in comparison.systems:
        yield (
            system,
            *(shown(mean(values(part, name, system=system)), m) for name, m in MEASURES.items()),
            *(
                _compared(comparison.against(name, system, BASELINE), m)
                for name, m in MEASURES.items()
                if m.compared
            ),
            verdicts(where(part, system=system)),
        )


def shown(estimate: Estimate, measure: Measure) -> str:
    """A mean as the tables print it; a dash where no run has a value."""
    return "-" if pd.isna(estimate.mean) else f"{measure.factor * estimate.mean:.{measure.digits}f}"


def _compared(estimate: Estimate, measure: Measure) -> str:
    """A paired difference with its interval; bold where that leaves zero out."""
    if pd.isna(estimate.half):
        return "-"
    middle, low, high = (
        f"{measure.factor * value:+.{measure.digits}f}"
        for value in (estimate.mean, estimate.low, estimate.high)
    )
    decided = estimate.low > 0 or estimate.high < 0
    return f"{f'**{middle}**' if decided else middle} [{low}, {high}]"
