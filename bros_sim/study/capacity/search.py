"""Capacity by search: those of all systems side by side, so that their runs share workers.

What to run next, and what is the answer, is decided in ``metrics/search.py``.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from bros_sim.config import Data
from bros_sim.core.errors import InputError
from bros_sim.experiment import Point
from bros_sim.metrics.search import NOTHING, Answer, Ask, Goal, answer, next_asks, region, status
from bros_sim.study.capacity.variants import Variants
from bros_sim.study.results import PointResult, saturation
from bros_sim.study.study import Candidate, Search, Trial

DECIDING = 5
"""Seeds that judge a value at first; the experiment's own number where it is larger."""
Judged = Callable[["Cell", float], None]
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
        """The measures of the targets, by value and seed."""
        measures = [target.measure for target in self.goal.targets]
        return {
            value: {seed: [point.value(m) for m in measures] for seed, point in runs.items()}
            for value, runs in self.points.items()
        }

    def candidate(self, ask: Ask, variants: Variants) -> Candidate:
        """The points with that value whose seeds are not there yet."""
        own = json.dumps(dict(self.labels), sort_keys=True)
        point = next(p for p in variants.at(ask.value).points if _name(p) == own)
        seeds = range(point.spec.seed, point.spec.seed + ask.seeds)
        known = self.points.get(ask.value, {})
        return Candidate([point.with_seed(seed) for seed in seeds if seed not in known])

    def learn(self, value: float, trial: Trial) -> None:
        """Add the runs of a value; a run that failed ends the search."""
        self.error = self.error or trial.error
        for result, error in zip(trial.results, trial.errors, strict=True):
            if not error:
                self.points.setdefault(value, {})[result.labels["seed"]] = result

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
        return saturation(self.points[inside[0]].values() if inside else (), of)


def find(variants: Variants, judged: Judged) -> Search[list[Cell]]:
    """Search the capacity of every system at every point of the other axes.

    Raises:
        InputError: A measure has no value where the search starts.
    """
    first = variants.at(variants.start).points
    goal = _goal(variants)
    cells = [Cell({n: v for n, v in p.labels.items() if n != "seed"}, goal) for p in first]
    while wanted := [(cell, ask) for cell in cells for ask in _possible(cell, variants)]:
        trials = yield [cell.candidate(ask, variants) for cell, ask in wanted]
        for (cell, ask), trial in zip(wanted, trials, strict=True):
            cell.learn(ask.value, trial)
        for cell, ask in wanted:
            if not cell.error:
                judged(cell, ask.value)
                _check_start(cell, ask.value)
    return cells


def _goal(variants: Variants) -> Goal:
    question = variants.question
    return Goal(
        question.targets,
        variants.start,
        least=question.least,
        whole=variants.whole,
        precision=question.precision,
        seeds=min(max(DECIDING, variants.seeds), question.seeds),
        max_seeds=question.seeds,
    )


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


def _name(point: Point) -> str:
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
