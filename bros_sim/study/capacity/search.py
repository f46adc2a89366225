"""The searches of an experiment, side by side, so that their runs share workers."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bros_sim.config import Data
from bros_sim.core.errors import InputError
from bros_sim.experiment import Loaded, Point
from bros_sim.experiment.seeds import alone_with_seed, with_seed
from bros_sim.metrics.answer import Answer, answer
from bros_sim.metrics.search import NOTHING, Ask, Goal, next_asks, region, status
from bros_sim.study.capacity.variants import Variants
from bros_sim.study.results import PointResult
from bros_sim.study.store import Store
from bros_sim.study.variation import Pair, Run, measured, value_of

DECIDING = 5
"""Seeds that judge a value at first; the experiment's own number where it is larger."""
Told = Callable[["Cell", float], None]
"""Called for each value of a cell that was run."""


@dataclass
class Cell:
    """One search: a system at a point of the other axes.

    ``points`` are the runs by value and seed, ``error`` is why the search ended early.
    """

    labels: Mapping[str, Data]
    goal: Goal
    points: dict[float, dict[int, PointResult]] = field(default_factory=dict)
    error: str = ""

    @property
    def found(self) -> dict[float, dict[int, list[float]]]:
        """What the measures of the targets came to, by value and seed."""
        measures = [target.measure for target in self.goal.targets]
        return {
            value: {seed: [value_of(point, m) for m in measures] for seed, point in runs.items()}
            for value, runs in self.points.items()
        }

    def asks(self) -> list[Ask]:
        """What it wants to have run."""
        return [] if self.error else next_asks(self.found, self.goal)

    def answer(self) -> Answer:
        """What the search has found."""
        return answer(self.found, self.goal)

    def status(self, value: float) -> str:
        """Whether a value that was run keeps the targets."""
        return status(self.found[value], self.goal.targets)

    def load(self) -> str:
        """The saturation verdicts of the hardest runs that surely keep the targets."""
        inside = region(self.found, self.goal)
        of = self.goal.targets[0].measure.service_class
        runs = self.points[inside[0]].values() if inside else ()
        return ", ".join(dict.fromkeys(str(run.summary[of]["saturation"]) for run in runs))


def find(variants: Variants, store: Store, run: Run, told: Told) -> list[Cell]:
    """Search the capacity of every system at every point of the other axes.

    Raises:
        InputError: A measure has no value where the search starts.
    """
    question = variants.question
    first = variants.at(variants.start).points
    goal = Goal(
        question.targets,
        variants.start,
        least=question.least,
        whole=variants.whole,
        precision=question.precision,
        seeds=min(max(DECIDING, variants.seeds), question.seeds),
        max_seeds=question.seeds,
    )
    cells = [Cell({n: v for n, v in p.labels.items() if n != "seed"}, goal) for p in first]
    while wanted := [(cell, ask) for cell in cells for ask in _possible(cell, variants)]:
        _round(wanted, variants, store, run)
        for cell, ask in wanted:
            if not cell.error:
                told(cell, ask.value)
                _check_start(cell, ask.value)
    return cells


def _possible(cell: Cell, variants: Variants) -> list[Ask]:
    """What the cell asks for, without the values that the experiment refuses."""
    while True:
        asks = cell.asks()
        refused = {ask.value for ask in asks if not _runs(variants, ask.value)}
        if not refused:
            return asks
        cell.goal = replace(cell.goal, refused=cell.goal.refused | refused)


def _runs(variants: Variants, value: float) -> bool:
    try:
        variants.at(value)
    except InputError:
        return False
    return True


def _round(wanted: Sequence[tuple[Cell, Ask]], variants: Variants, store: Store, run: Run) -> None:
    """Run what is wanted, all of it together, and give each cell its results."""
    runs = [
        (cell, ask.value, seed, pair)
        for cell, ask in wanted
        for seed, pair in _pairs(cell, ask, variants.at(ask.value)).items()
    ]
    results = measured([pair for *_, pair in runs], store, run)
    for (cell, value, seed, _), result in zip(runs, results, strict=True):
        cell.error = cell.error or result.error
        if not result.error:
            cell.points.setdefault(value, {})[seed] = result


def _pairs(cell: Cell, ask: Ask, loaded: Loaded) -> dict[int, Pair]:
    """Seed -> the point and what it is compared with, for the seeds that are not there yet."""
    own = json.dumps(dict(cell.labels), sort_keys=True)
    point = next(p for p in loaded.points if _cell_of(p) == own)
    seeds = range(point.spec.seed, point.spec.seed + ask.seeds)
    new = (seed for seed in seeds if seed not in cell.points.get(ask.value, {}))
    return {seed: (with_seed(point, seed), alone_with_seed(loaded, point, seed)) for seed in new}


def _cell_of(point: Point) -> str:
    labels = {name: value for name, value in point.labels.items() if name != "seed"}
    return json.dumps(labels, sort_keys=True)


def _check_start(cell: Cell, value: float) -> None:
    """A measure without a value at the start will have none anywhere.

    Raises:
        InputError: It is so.
    """
    if value != cell.goal.start or cell.status(value) != NOTHING:
        return
    for number, target in enumerate(cell.goal.targets):
        if sum(not np.isnan(row[number]) for row in cell.found[value].values()) < 2:
            what = f"has no value at {value:g}: no request that it counts, or none with an SLO"
            raise InputError(f"{target.measure}: {what}")
