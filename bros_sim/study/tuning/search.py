"""The search: combinations in batches, judged by means over the same seeds, the best run again.

The best of many trials is in part the luckiest on its seeds, so what may be said of it comes from
seeds that the search never saw.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bros_sim.core.errors import InputError, RunStopped
from bros_sim.core.extras import need
from bros_sim.experiment import Point
from bros_sim.metrics.capacity import ROUNDING
from bros_sim.metrics.measures import Measure, Target
from bros_sim.study.results import PointResult
from bros_sim.study.study import Search
from bros_sim.study.tuning.space import Setting, Values

if TYPE_CHECKING:  # Optuna is an extra
    from bros_sim.study.tuning.sampler import Proposal, Sampler

BATCH = 4
"""Trials that are chosen before any of them is known: part of the answer, so no option."""
KNOWN = 100
"""So many proposals in a row that are known already end the search."""
KEEPS, MISSES, NO_VALUE, REFUSED, FAILED = "keeps", "misses", "no value", "refused", "failed"


@dataclass(frozen=True)
class Question:
    """The most (or least) of ``objective`` with all ``targets`` kept; ``held_out``: more seeds."""

    objective: Measure
    maximize: bool
    targets: tuple[Target, ...] = ()
    trials: int = 40
    seeds: int = 5
    held_out: int = 10

    @property
    def measures(self) -> list[Measure]:
        """The objective, then those of the targets, each once."""
        return list(dict.fromkeys([self.objective, *(t.measure for t in self.targets)]))


@dataclass(frozen=True)
class Judged:
    """Values of the parameters and the runs with them, by seed, or why not; 0 is as given."""

    number: int
    values: Values
    question: Question
    points: Mapping[int, PointResult] = field(default_factory=dict)
    refused: str = ""
    error: str = ""

    def sample(self, measure: Measure) -> NDArray[np.float64]:
        """The measure's values, one for each seed."""
        return np.array([self.points[seed].value(measure) for seed in sorted(self.points)])

    @cached_property
    def means(self) -> Mapping[Measure, float]:
        """Over all seeds: NaN if one of them has no value."""
        known = self.points and not (self.refused or self.error)
        measures = self.question.measures
        return {m: float(self.sample(m).mean()) if known else math.nan for m in measures}

    @property
    def objective(self) -> float:
        """The mean of what is to be as large, or as small, as can be."""
        return self.means[self.question.objective]

    @property
    def off(self) -> float:
        """How far the means miss the targets, in shares of these, added up; 0 if they keep them."""
        if any(math.isnan(mean) for mean in self.means.values()):
            return math.inf
        return sum(_missed(target, self.means[target.measure]) for target in self.question.targets)

    @property
    def verdict(self) -> str:
        """KEEPS or MISSES the targets, or why neither."""
        if self.refused or self.error:
            return REFUSED if self.refused else FAILED
        if math.isinf(self.off):
            return NO_VALUE
        return MISSES if self.off else KEEPS

    @property
    def rank(self) -> tuple[float, float, int]:
        """The least is best: targets first, then the objective, then who came first."""
        sign = -1.0 if self.question.maximize else 1.0
        worst = math.isnan(self.objective)
        return self.off, math.inf if worst else sign * self.objective, self.number


def _missed(target: Target, mean: float) -> float:
    gap = (target.value - mean) * (1.0 if target.at_least else -1.0)
    return gap / (abs(target.value) or 1.0) if gap > ROUNDING else 0.0


@dataclass(frozen=True)
class Answer:
    """All that was tried, and the first and the best on held-out seeds (the same if it is best)."""

    trials: Sequence[Judged]
    given: Judged
    best: Judged

    @property
    def judged(self) -> list[Judged]:
        """All of these, each set of runs once."""
        return [*self.trials, self.given, *([] if self.best is self.given else [self.best])]


def find(setting: Setting, question: Question, judged: Callable[[Judged], None]) -> Search[Answer]:
    """Try ``question.trials`` combinations, or all that there are; run the best on other seeds.

    RunStopped if the experiment as given fails.
    """
    first = setting.loaded.spec.seed
    sampling = need("bros_sim.study.tuning.sampler", "opt", "tune needs the extra")
    chosen_on = range(first, first + question.seeds)
    held_out = range(first + question.seeds, first + question.seeds + question.held_out)
    (given,) = yield from _judged([Judged(0, setting.given, question)], setting, chosen_on)
    judged(given)
    _check_given(given)
    rules = {"maximize": question.maximize, "trials": question.trials, "seed": first}
    sampler: Sampler = sampling.Sampler(setting.space, given.values, **rules)
    trials = {_name(given.values): given}
    while len(trials) <= question.trials:
        asked = list(_batch(sampler, trials, min(BATCH, question.trials + 1 - len(trials))))
        new = {_name(values): values for _, values in asked if _name(values) not in trials}
        if not new:
            break
        numbered = enumerate(new.values(), len(trials))
        batch = [Judged(number, values, question) for number, values in numbered]
        for one in (yield from _judged(batch, setting, chosen_on)):
            judged(one)
            trials[_name(one.values)] = one
        for proposal, values in asked:
            one = trials[_name(values)]
            sampler.tell(proposal, one.objective, one.off)
    best = min(trials.values(), key=lambda one: one.rank)
    again = [given] if best is given else [given, best]
    others = yield from _judged(again, setting, held_out)
    return Answer(list(trials.values()), others[0], others[-1])


def _name(values: Values) -> str:
    return json.dumps(values, sort_keys=True)


def _batch(sampler: "Sampler", trials: Mapping[str, Judged], size: int) -> Iterator["Proposal"]:
    """Proposals, until ``size`` of them are new."""
    new: set[str] = set()
    known = 0
    while len(new) < size and known < KNOWN:
        one, values = sampler.ask()
        name = _name(values)
        known = known + 1 if name in trials or name in new else 0
        new |= {name} - trials.keys()
        yield one, values


def _judged(
    combinations: Sequence[Judged], setting: Setting, seeds: Sequence[int]
) -> Search[list[Judged]]:
    asked: list[tuple[Judged, Sequence[Point], str]] = []
    for one in combinations:
        try:
            asked.append((one, setting.points(one.values if one.number else {}, seeds), ""))
        except InputError as error:
            asked.append((one, (), "; ".join(error.lines)))
    trials = yield [points for _, points, _ in asked]
    judged = []
    for (one, _, refused), trial in zip(asked, trials, strict=True):
        runs = {} if trial.error else {result.labels["seed"]: result for result in trial.results}
        judged.append(replace(one, points=runs, refused=refused, error=trial.error))
    return judged


def _check_given(given: Judged) -> None:
    if given.error:
        raise RunStopped(f"the experiment as given fails: {given.error}")
    for measure, mean in given.means.items():
        if math.isnan(mean):
            what = "has no value as given: no request that it counts, or none with an SLO"
            raise InputError(f"{measure}: {what}")
