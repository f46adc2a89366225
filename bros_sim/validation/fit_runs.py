"""Fits the named terms of a profile to recorded runs of whole servers.

Every run is replayed with each term varied by a little; the differences are the Jacobian of a
Gauss-Newton step. Replays include queues, so that a term counts with all it causes: where requests
wait, an iteration that is 1 % longer makes them wait far more than 1 % longer. (Least squares on
the iterations of one replay, with the schedule held fixed, leaves that out, and overshoots.)
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from bros_sim.profiles.profile import Profile
from bros_sim.validation.compare import Comparison, compare
from bros_sim.validation.replay import replay
from bros_sim.validation.run_statistics import (
    BLOCKS,
    TTFT_WEIGHT,
    RecordedRun,
    statistics,
    targets,
)
from bros_sim.validation.terms import TERMS, value_of, with_values

Floats = NDArray[np.float64]
T = TypeVar("T")
ROUNDS = 10
SETTLED = 0.1
"""A fit ends when no term moves by more than this share of its step."""
REWEIGHTED = 6
HUBER = 2.0
"""Scatter (standard deviations) within which residuals count in full."""
ALIKE = 0.9
"""Correlation from which two terms cannot be told apart."""


class Trial(NamedTuple):
    """One replay that a fit needs: which run, with which values of the terms."""

    run: int
    values: tuple[float, ...]


@dataclass(frozen=True)
class RunFit:
    """What whole runs say of a profile's terms."""

    profile: Profile
    """With the fitted values."""
    terms: tuple[str, ...]
    start: Floats
    values: Floats
    standard_errors: Floats
    correlation: Floats
    residual_pct: float
    """Root mean square of what the fit leaves of mean TPOT in blocks of the runs, in percent."""
    before: Mapping[str, Comparison]
    after: Mapping[str, Comparison]
    held_out: tuple[str, ...]
    """Names of runs in ``before`` and ``after`` that the fit did not see."""

    @property
    def advice(self) -> list[str]:
        """Terms that the runs cannot tell apart, or say nothing of, and what would help."""
        found = []
        for i, name in enumerate(self.terms):
            if not self.standard_errors[i]:
                found.append(f"{name} changes nothing in these runs, with this profile")
            elif self.values[i] <= TERMS[name].least:
                found.append(f"{name} is at its least value: the runs show nothing of it")
            for j, other in list(enumerate(self.terms))[:i]:
                if abs(self.correlation[i, j]) >= ALIKE:
                    ways = dict.fromkeys((TERMS[other].varied_by, TERMS[name].varied_by))
                    found.append(
                        f"the runs cannot tell {other} from {name} (correlation "
                        f"{self.correlation[i, j]:+.2f}): add a run that differs in "
                        f"{' or '.join(ways)}"
                    )
        return found


def fit_runs(
    runs: Sequence[RecordedRun],
    profile: Profile,
    terms: Sequence[str],
    holdout: Sequence[RecordedRun] = (),
    *,
    ttft: bool = True,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> RunFit:
    """The terms of a profile with which replays of these runs are nearest to them.

    Args:
        runs: What is fitted to; all count alike.
        profile: Where the terms start.
        terms: Names of `TERMS`.
        holdout: Runs that are only compared, before and after.
        ttft: Whether TTFT counts; False for runs whose caches were warm in an unknown way.
        workers: Processes that replay; the result does not depend on it.
        progress: Called with the most replays that are needed, and how many are done.

    Raises:
        InputError: A term or a run does not go with the profile, or a request never finishes.
    """
    start = np.array([value_of(profile, name) for name in terms])
    total = ROUNDS * len(runs) * (len(terms) + 1) + 2 * (len(runs) + len(holdout))
    told = partial(progress or _silent, total)
    with _Replays(runs, holdout, profile, tuple(terms), workers, told) as play:
        before = play.comparisons(start)
        values, errors, correlation, residual = _fit(play, start, TTFT_WEIGHT if ttft else 0.0)
        after = play.comparisons(values)
    return RunFit(
        with_values(profile, dict(zip(terms, values.tolist(), strict=True))), tuple(terms), start,
        values, errors, correlation, residual, before, after, tuple(run.name for run in holdout),
    )  # fmt: skip


def _silent(total: int, done: int) -> None:
    """Nobody wants to know."""


class _Data(NamedTuple):
    """What a worker process needs to replay."""

    runs: Sequence[RecordedRun]
    profile: Profile
    terms: tuple[str, ...]

    def replayed(self, trial: Trial) -> pd.DataFrame:
        run = self.runs[trial.run]
        values = dict(zip(self.terms, trial.values, strict=True))
        return replay(run.requests, run.arguments, with_values(self.profile, values))

    def statistics(self, trial: Trial) -> Floats:
        simulated, real = self.replayed(trial), self.runs[trial.run].requests
        return statistics(simulated, real, self.runs[trial.run].name)

    def compared(self, trial: Trial) -> Comparison:
        return compare(self.runs[trial.run].requests, self.replayed(trial))


class _Replays:
    """Replays of all runs on worker processes, counted; a context manager."""

    def __init__(
        self,
        runs: Sequence[RecordedRun],
        holdout: Sequence[RecordedRun],
        profile: Profile,
        terms: tuple[str, ...],
        workers: int,
        progress: Callable[[int], None],
    ) -> None:
        self.terms, self.fitted = terms, runs
        self._data = _Data((*runs, *holdout), profile, terms)
        self._pool = ProcessPoolExecutor(workers) if workers > 1 else None
        self._progress, self._done = progress, 0

    def __enter__(self) -> "_Replays":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def comparisons(self, values: Floats) -> dict[str, Comparison]:
        """All runs, those held out included, with these values."""
        trials = [Trial(n, tuple(values.tolist())) for n in range(len(self._data.runs))]
        found = self._map(self._data.compared, trials)
        return {run.name: it for run, it in zip(self._data.runs, found, strict=True)}

    def linearised(self, values: Floats) -> tuple[Floats, Floats]:
        """Statistics of the fitted runs, one run after the other, and their Jacobian."""
        steps = np.diag([TERMS[name].step for name in self.terms])
        points = [values, *(values + step for step in steps)]
        trials = [
            Trial(n, tuple(point.tolist())) for n in range(len(self.fitted)) for point in points
        ]
        found = self._map(self._data.statistics, trials)
        at = [found[n * len(points) : (n + 1) * len(points)] for n in range(len(self.fitted))]
        base = np.concatenate([of_run[0] for of_run in at])
        moved = [np.concatenate([of_run[1 + k] for of_run in at]) for k in range(len(steps))]
        columns = [
            (m - base) / step[k] for k, (m, step) in enumerate(zip(moved, steps, strict=True))
        ]
        return base, np.stack(columns, axis=1)

    def _map(self, run: Callable[[Trial], T], trials: Sequence[Trial]) -> list[T]:
        results = map(run, trials) if self._pool is None else self._pool.map(run, trials)
        found = []
        for result in results:
            found.append(result)
            self._done += 1
            self._progress(self._done)
        return found


def _fit(play: _Replays, start: Floats, ttft_weight: float) -> tuple[Floats, Floats, Floats, float]:
    """Values, their standard errors and correlation, and the residual of TPOT in percent."""
    real, weights, groups = targets(play.fitted, ttft_weight)
    least = np.array([TERMS[name].least for name in play.terms])
    steps = np.array([TERMS[name].step for name in play.terms])
    values = np.maximum(start, least)
    for _ in range(ROUNDS):
        base, jacobian = play.linearised(values)
        used = np.isfinite(base) & np.isfinite(real) & np.isfinite(jacobian).all(axis=1)
        used &= weights > 0
        rows, target = jacobian[used] * weights[used, None], (real - base)[used] * weights[used]
        rows, target, move = _robust(rows, target, least - values)
        values = np.maximum(values + move, least)
        if np.all(np.abs(move) < SETTLED * steps):
            break
    left = target - rows @ move
    covariance = _covariance(rows, left, groups[used])
    deviations = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    scale = np.where(deviations > 0, deviations, 1.0)
    tpot = left[weights[used] > TTFT_WEIGHT / np.sqrt(BLOCKS)] * np.sqrt(BLOCKS)
    residual = float(100 * np.sqrt(np.mean(tpot**2))) if tpot.size else 0.0
    return _rounded(values), deviations, covariance / np.outer(scale, scale), residual


def _robust(rows: Floats, target: Floats, least: Floats) -> tuple[Floats, Floats, Floats]:
    """Least squares with Huber's weights: rows, target, both weighted, and the move.

    What no move explains (a warm cache, a pause of the server) pulls no harder than the scatter.
    """
    trust = np.ones(len(target))
    for _ in range(REWEIGHTED):
        weighted, aim = rows * trust[:, None], target * trust
        move = lsq_linear(weighted, aim, bounds=(least - 1e-12, np.inf)).x
        left = np.abs(target - rows @ move)
        trust = np.minimum(1.0, HUBER * 1.4826 * np.median(left) / np.maximum(left, 1e-300)) ** 0.5
    return weighted, aim, move


def _rounded(values: Floats) -> Floats:
    """As a profile holds them."""
    return np.array([float(f"{value:.4g}") for value in values])


def _covariance(rows: Floats, left: Floats, groups: NDArray[np.int64]) -> Floats:
    """The sandwich estimator, requests of a block taken together: they share iterations."""
    bread = np.linalg.pinv(rows.T @ rows)
    scores = np.stack([rows[groups == group].T @ left[groups == group] for group in set(groups)])
    spare = max(1, len(left) - rows.shape[1])
    return np.asarray(bread @ (scores.T @ scores) @ bread * (len(left) / spare))
