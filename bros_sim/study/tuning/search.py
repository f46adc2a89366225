"""The search: trials in batches, judged by means over the same seeds, the best one run once more.

The best of many trials is in part the luckiest on its seeds, so what may be said of it comes from
seeds that the search never saw.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bros_sim.core.errors import InputError, RunStopped
from bros_sim.metrics.capacity import ROUNDING
from bros_sim.metrics.measures import Measure, Target
from bros_sim.study.results import PointResult
from bros_sim.study.store import Store
from bros_sim.study.tuning.sampler import Proposal, Sampler
from bros_sim.study.tuning.setting import Setting, Values
from bros_sim.study.variation import Run, measured, value_of

BATCH = 4
"""Trials that are chosen before any of them is known: part of the answer, so no option."""
KNOWN = 100
"""So many proposals in a row that are known already end the search."""
KEEPS, MISSES, NO_VALUE, REFUSED, FAILED = "keeps", "misses", "no value", "refused", "failed"
Told = Callable[["Trial"], None]
"""Called for each trial, in order."""


@dataclass(frozen=True)
class Aim:
    """What is looked for: the most (or least) of ``objective`` among what keeps all ``targets``.

    ``seeds`` judge a trial, ``held_out`` others the best one.
    """

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
class Trial:
    """Values of the parameters and the runs with them, by seed; 0 is the experiment as given.

    ``refused`` or ``error`` say why there are no runs, or not all.
    """

    number: int
    values: Values
    aim: Aim
    points: Mapping[int, PointResult] = field(default_factory=dict)
    refused: str = ""
    error: str = ""

    def sample(self, measure: Measure) -> NDArray[np.float64]:
        """What the measure came to, a value for each seed."""
        return np.array([value_of(self.points[seed], measure) for seed in sorted(self.points)])

    @cached_property
    def means(self) -> Mapping[Measure, float]:
        """Over all seeds: NaN if one of them has no value."""
        known = self.points if not (self.refused or self.error) else {}
        return {m: float(self.sample(m).mean()) if known else math.nan for m in self.aim.measures}

    @property
    def objective(self) -> float:
        """What is to be as large, or as small, as can be."""
        return self.means[self.aim.objective]

    @property
    def off(self) -> float:
        """How far the means miss the targets, in shares of these, added up; 0 if they keep them."""
        if any(math.isnan(mean) for mean in self.means.values()):
            return math.inf
        return sum(_missed(target, self.means[target.measure]) for target in self.aim.targets)

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
        sign = -1.0 if self.aim.maximize else 1.0
        worst = math.isnan(self.objective)
        return self.off, math.inf if worst else sign * self.objective, self.number


def _missed(target: Target, mean: float) -> float:
    gap = (target.value - mean) * (1.0 if target.at_least else -1.0)
    return gap / (abs(target.value) or 1.0) if gap > ROUNDING else 0.0


@dataclass(frozen=True)
class Tuned:
    """All trials, and the first and the best of them on held-out seeds (the same if it is best)."""

    trials: Sequence[Trial]
    given: Trial
    best: Trial

    @property
    def judged(self) -> list[Trial]:
        """All of these, each set of runs once."""
        return [*self.trials, self.given, *([] if self.best is self.given else [self.best])]


def find(setting: Setting, aim: Aim, store: Store, run: Run, told: Told) -> Tuned:
    """Try ``aim.trials`` values, or all that there are, and run the best on other seeds.

    Raises:
        InputError: A measure has no value in the experiment as given.
        RunStopped: The experiment as given fails.
    """
    first = setting.first_seed

    def judge(trials: Sequence[Trial]) -> list[Trial]:
        done = _run(trials, setting, range(first, first + aim.seeds), store, run)
        for trial in done:
            told(trial)
        return done

    given = judge([Trial(0, setting.given, aim)])[0]
    _check_given(given)
    trials = _search(setting, aim, given, judge)
    best = min(trials, key=lambda trial: trial.rank)
    again = [given] if best is given else [given, best]
    held_out = range(first + aim.seeds, first + aim.seeds + aim.held_out)
    others = _run(again, setting, held_out, store, run)
    return Tuned(trials, others[0], others[-1])


def _search(
    setting: Setting, aim: Aim, given: Trial, judge: Callable[[Sequence[Trial]], list[Trial]]
) -> list[Trial]:
    """``given`` and all trials after it."""
    space, seed = setting.space, setting.first_seed
    sampler = Sampler(space, given.values, maximize=aim.maximize, trials=aim.trials, seed=seed)
    trials = {_name(given.values): given}
    while len(trials) <= aim.trials:
        asked = list(_batch(sampler, trials, min(BATCH, aim.trials + 1 - len(trials))))
        new = {_name(values): values for _, values in asked if _name(values) not in trials}
        if not new:
            break
        numbered = enumerate(new.values(), len(trials))
        done = judge([Trial(number, values, aim) for number, values in numbered])
        trials |= {_name(trial.values): trial for trial in done}
        for one, values in asked:
            trial = trials[_name(values)]
            sampler.tell(one, trial.objective, trial.off)
    return list(trials.values())


def _name(values: Values) -> str:
    return json.dumps(values, sort_keys=True)


def _batch(sampler: Sampler, trials: Mapping[str, Trial], size: int) -> Iterator[Proposal]:
    """Proposals, until ``size`` of them are new."""
    new: set[str] = set()
    known = 0
    while len(new) < size and known < KNOWN:
        one, values = sampler.ask()
        name = _name(values)
        known = known + 1 if name in trials or name in new else 0
        new |= {name} - trials.keys()
        yield one, values


def _run(
    trials: Sequence[Trial], setting: Setting, seeds: Sequence[int], store: Store, run: Run
) -> list[Trial]:
    """The trials with their runs over ``seeds``, all run together."""
    pairs, refused = {}, {}
    for trial in trials:
        try:
            pairs[trial.number] = setting.pairs(trial.values if trial.number else {}, seeds)
        except InputError as error:
            refused[trial.number] = "; ".join(error.lines)
    wanted = [pair for mine in pairs.values() for pair in mine.values()]
    results = iter(measured(wanted, store, run))
    done = []
    for trial in trials:
        if trial.number in refused:
            done.append(replace(trial, refused=refused[trial.number]))
            continue
        points = {seed: next(results) for seed in pairs[trial.number]}
        why = next((point.error for point in points.values() if point.error), "")
        done.append(replace(trial, points={} if why else points, error=why))
    return done


def _check_given(given: Trial) -> None:
    """What has no value as given cannot be compared with.

    Raises:
        InputError: A measure has none.
        RunStopped: A run failed.
    """
    if given.error:
        raise RunStopped(f"the experiment as given fails: {given.error}")
    for measure, mean in given.means.items():
        if math.isnan(mean):
            what = "has no value as given: no request that it counts, or none with an SLO"
            raise InputError(f"{measure}: {what}")
