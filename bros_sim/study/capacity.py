"""The search for a capacity: the highest load, or the fewest replicas, that keep targets.

The searches of all systems go on side by side, so that their runs share workers.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from bros_sim.config import Data, Document
from bros_sim.core.errors import InputError
from bros_sim.experiment import Loaded
from bros_sim.metrics.intervals import half_width
from bros_sim.metrics.measures import Target
from bros_sim.metrics.search import (
    NOTHING,
    Answer,
    Ask,
    Goal,
    answer,
    next_asks,
    region,
    rows,
    status,
)
from bros_sim.study.results import Labels, PointResult, saturation, seedless, show_label
from bros_sim.study.study import Candidate, Search, Trial
from bros_sim.study.variation import Variation

LEAST_OF = ("replicas", "num_gpu_blocks", "ttft_s", "tpot_s", "e2e_s")
"""Resources and limits, by the end of their paths: the least that will do is looked for."""
DECIDING = 5
"""Seeds that judge a value at first; the experiment's own number where it is larger."""
ANSWER = ("value", "low", "high", "kept", "missed", "binds", "seeds", "load", "error")


@dataclass(frozen=True)
class Question:
    """Which value of the path ``vary`` still keeps all ``targets``, judged by ``seeds`` seeds.

    Two values no farther apart than the share ``precision`` are not split.
    """

    vary: str
    targets: tuple[Target, ...]
    seeds: int = 20
    precision: float = 0.05

    @property
    def least(self) -> bool:
        """Whether the least value is looked for, not the highest."""
        return self.vary.rpartition(".")[2] in LEAST_OF


class Variants:
    """The experiment of ``document`` for each value of the path that is varied, with one seed.

    ``start`` is the middle of the swept values, else the value in the file, else the default.
    """

    def __init__(self, document: Document, question: Question) -> None:
        self.question = question
        measures = [target.measure for target in question.targets]
        self.variation = Variation(document, [question.vary], measures)
        self.start = self._start(document.get(("sweep", "grid", question.vary)))
        whole = self.start.is_integer()
        self._whole = whole and self.variation.only_whole(question.vary, self.start)
        self.at(self.start)

    def _start(self, swept: Data) -> float:
        vary = self.question.vary
        if isinstance(swept, list) and swept:
            numbers = sorted(n for value in swept if (n := _number(value)) > 0)
            here = numbers[len(numbers) // 2] if numbers else swept[0]
        else:
            here = self.variation.given(vary)
        if (number := _number(here)) > 0:
            return number
        if here is None:
            self.variation.at({vary: 1})  # is there such a key at all?
            raise InputError(f"--vary {vary}: has no value to start from: add --set {vary}=...")
        raise InputError(f"--vary {vary}: {json.dumps(here)} is not a number above 0 to start from")

    def at(self, value: float) -> Loaded:
        """The experiment with that value; an InputError if it cannot be run."""
        return self.variation.at(self._written(value))

    def refuses(self, value: float) -> bool:
        """Whether the experiment cannot be run with that value."""
        return bool(self.variation.refusal(self._written(value)))

    def _written(self, value: float) -> dict[str, Data]:
        return {self.question.vary: int(value) if value.is_integer() else value}

    @property
    def goal(self) -> Goal:
        """What every cell looks for."""
        question = self.question
        return Goal(
            question.targets,
            self.start,
            least=question.least,
            whole=self._whole,
            precision=question.precision,
            seeds=min(max(DECIDING, self.variation.seeds), question.seeds),
            max_seeds=question.seeds,
        )


def _number(value: Data) -> float:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if known else float("nan")  # type: ignore[arg-type]


@dataclass
class Cell:
    """One search: a system at a point of the other axes; its runs by value and seed."""

    labels: Labels
    goal: Goal
    points: dict[float, dict[int, PointResult]] = field(default_factory=dict)
    error: str = ""

    @property
    def found(self) -> dict[float, dict[int, list[float]]]:
        """The measures of the targets, by value and seed."""
        measures = [target.measure for target in self.goal.targets]
        found = {}
        for value, runs in self.points.items():
            found[value] = {s: [point.value(m) for m in measures] for s, point in runs.items()}
        return found

    def asks(self, variants: Variants) -> list[Ask]:
        """What it wants to have run, without the values that the experiment refuses."""
        while not self.error:
            asks = next_asks(self.found, self.goal)
            refused = {ask.value for ask in asks if variants.refuses(ask.value)}
            if not refused:
                return asks
            self.goal = replace(self.goal, refused=self.goal.refused | refused)
        return []

    def candidate(self, ask: Ask, variants: Variants) -> Candidate:
        """The points with that value whose seeds are not there yet."""
        points = variants.at(ask.value).points
        point = next(p for p in points if _name(p.labels) == _name(self.labels))
        seeds = range(point.spec.seed, point.spec.seed + ask.seeds)
        known = self.points.get(ask.value, {})
        return [point.with_seed(seed) for seed in seeds if seed not in known]

    def learn(self, value: float, trial: Trial) -> None:
        """Add the runs of a value; a run that failed ends the search."""
        self.error = self.error or trial.error
        for result, error in trial.runs:
            if not error:
                self.points.setdefault(value, {})[result.labels["seed"]] = result

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


def _name(labels: Labels) -> str:
    return json.dumps(seedless(labels), sort_keys=True)


def find(variants: Variants, judged: Callable[[Cell, float], None]) -> Search[list[Cell]]:
    """The capacity of every system at every point of the other axes; ``judged``: of each value."""
    cells = [Cell(seedless(p.labels), variants.goal) for p in variants.at(variants.start).points]
    while wanted := [(cell, ask) for cell in cells for ask in cell.asks(variants)]:
        trials = yield [cell.candidate(ask, variants) for cell, ask in wanted]
        for (cell, ask), trial in zip(wanted, trials, strict=True):
            cell.learn(ask.value, trial)
        for cell, ask in wanted:
            if not cell.error:
                judged(cell, ask.value)
                _check_start(cell, ask.value)
    return cells


def _check_start(cell: Cell, value: float) -> None:
    """A measure without a value at the start will have none anywhere."""
    if value != cell.goal.start or cell.status(value) != NOTHING:
        return
    for number, target in enumerate(cell.goal.targets):
        if sum(not np.isnan(row[number]) for row in cell.found[value].values()) < 2:
            what = f"has no value at {value:g}: no request that it counts, or none with an SLO"
            raise InputError(f"{target.measure}: {what}")


def answers(cells: Sequence[Cell], question: Question, gpus: int) -> pd.DataFrame:
    """The capacity of each cell: ANSWER as in `Answer`, ``load`` as `Cell.load`.

    For ``cluster.replicas`` also the GPUs, with ``gpus`` of them in a replica.
    """
    found = []
    for cell in cells:
        values = {} if cell.error else {**vars(cell.answer()), "load": cell.load()}
        found.append({**_shown(cell), "vary": question.vary, **values, "error": cell.error})
    table = pd.DataFrame(found, columns=[*cells[0].labels, "vary", *ANSWER])
    replicas = question.vary == "cluster.replicas"
    return table.assign(gpus=gpus * table["value"].astype(float)) if replicas else table


def evaluations(cells: Sequence[Cell]) -> pd.DataFrame:
    """Every value that was run, a row for each target.

    ``status`` is that of the value under all targets; ``used``: for the answer; ``load``: the
    saturation verdicts; ``half_width``: of the 95 % t interval over ``seeds``.
    """
    return pd.DataFrame([row for cell in cells for row in _evaluated(cell)])


def _evaluated(cell: Cell) -> Iterator[Mapping[str, object]]:
    inside = [] if cell.error else region(cell.found, cell.goal)
    for value, sample in sorted(cell.found.items()):
        known = rows(sample)
        for number, target in enumerate(cell.goal.targets):
            yield {
                **_shown(cell),
                "value": value,
                "target": str(target),
                "mean": float(known[:, number].mean()) if len(known) else np.nan,
                "half_width": half_width(known[:, number]),
                "seeds": len(known),
                "status": cell.status(value),
                "used": value in inside,
                "load": saturation(cell.points[value].values(), target.measure.service_class),
            }


def _shown(cell: Cell) -> dict[str, object]:
    return {name: show_label(value) for name, value in cell.labels.items()}
