"""Result folders -> one table, and who is beaten by whom in both classes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pandas as pd

from benchmarks.paired import Estimate, difference, read, where
from benchmarks.rivals.places import LOADS, Place

BASELINE = "vLLM FCFS"
ATTAINMENT, RETENTION = "rt_attainment", "be_retention"
CLASSES = (ATTAINMENT, RETENTION)
"""What decides who is better: a measure of each class."""
MARGIN = 0.005
"""Least difference, half a percentage point, that counts however sure it is."""


@dataclass(frozen=True)
class Measure:
    """A column of the tables: how it is printed, in a unit after a factor."""

    title: str
    digits: int
    factor: float = 1.0
    compared: bool = False


MEASURES = {
    ATTAINMENT: Measure("RT in time, %", 1, 100.0, compared=True),
    "token_attainment": Measure("RT tokens in time, %", 1, 100.0, compared=True),
    "p99_ttft_s": Measure("p99 TTFT, s", 2),
    RETENTION: Measure("BE retention, %", 1, 100.0, compared=True),
    "of_its_own": Measure("of its own, %", 1, 100.0),
    "recomputed": Measure("recomputed", 1),
    "moved": Measure("moved to the CPU", 1),
    "longest_be_wait_s": Measure("longest BE wait, s", 1),
}
"""Column of `read_places` -> how it is shown; ``compared``: with an interval against vLLM FCFS."""


def read_places(results: Path, places: Sequence[Place]) -> pd.DataFrame:
    """A row for each place, load, system and seed, with the columns of `MEASURES`.

    BE retention is BE tokens/s over those of vLLM FCFS serving BE alone, with the same seed;
    ``of_its_own`` over those of the system itself. ``recomputed`` and ``moved`` are tokens for each
    request that arrived in the window.
    """
    parts = []
    for place in places:
        table = read(results / place.settings["name"])
        loads = dict(zip(sorted(table["rate"].unique()), LOADS, strict=True))
        table = table.assign(place=place.name, load=table["rate"].map(loads))
        parts.append(table)
    return measures(pd.concat(parts, ignore_index=True))


KEYS = ["place", "load", "rate", "system", "seed"]


def measures(table: pd.DataFrame) -> pd.DataFrame:
    """The measures of every run, from its rows for rt, be and all."""
    rt, be, both = (where(table, **{"class": c}).set_index(KEYS) for c in ("rt", "be", "all"))
    arrived, block = both["arrived"], both["kv_slots"] / both["kv_blocks"]
    moved = both["swapped_blocks"] * block + both["checkpointed_slots"]
    columns = {
        ATTAINMENT: rt["slo_attainment"],
        "token_attainment": rt["token_slo_attainment_deadline"],
        "p99_ttft_s": rt["p99_ttft_ms"] / 1000,
        RETENTION: be["output_throughput_steady"] / _alone(be),
        "of_its_own": be["be_retention"],
        "recomputed": both["recomputed_tokens"] / arrived,
        "moved": moved / arrived,
        "longest_be_wait_s": be["longest_wait_ms"] / 1000,
    }
    found = pd.DataFrame(columns).astype(float)
    return found.assign(saturation=rt["saturation"]).reset_index()


def _alone(be: pd.DataFrame) -> pd.Series:
    """For every run the BE tokens/s of vLLM FCFS without RT, at its place and with its seed."""
    base = be.xs(BASELINE, level="system").groupby(["place", "seed"]).first()
    alone = base["output_throughput_steady"] / base["be_retention"]
    at = pd.MultiIndex.from_frame(be.index.to_frame()[["place", "seed"]])
    return pd.Series(alone.reindex(at).to_numpy(), be.index)


class Comparison:
    """The systems of one place and load, compared on the same seeds."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.systems = [str(system) for system in table["system"].unique()]
        self._values = {
            measure: table.pivot(index="seed", columns="system", values=measure)
            for measure in MEASURES
        }
        self._surpassed = {measure: set(self._winners(measure)) for measure in CLASSES}

    def _winners(self, measure: str) -> Iterator[tuple[str, str]]:
        """All (better, worse) in a measure."""
        for system, other in combinations(self.systems, 2):
            found = self.against(measure, system, other)
            if abs(found.mean) >= MARGIN and (found.low > 0 or found.high < 0):
                yield (system, other) if found.mean > 0 else (other, system)

    def against(self, measure: str, system: str, other: str) -> Estimate:
        """``system`` - ``other``, paired by seed."""
        found = self._values[measure]
        return difference(found[system], found[other])

    def surpasses(self, measure: str, system: str, other: str) -> bool:
        """Whether the interval of the difference leaves zero out, and it is worth the name."""
        return (system, other) in self._surpassed[measure]

    def beats(self, system: str, other: str) -> bool:
        """Whether ``system`` is better in one class and worse in none."""
        return any(self.surpasses(m, system, other) for m in CLASSES) and not any(
            self.surpasses(m, other, system) for m in CLASSES
        )

    def beaten_by(self) -> dict[str, list[str]]:
        """System -> all that beat it; whom nobody beats is on the front."""
        return {
            system: [other for other in self.systems if self.beats(other, system)]
            for system in self.systems
        }

    def leaders(self, measure: str, front: Sequence[str]) -> list[str]:
        """Those of the front whom nobody else on it surpasses in a measure."""
        return [s for s in front if not any(self.surpasses(measure, o, s) for o in front)]
