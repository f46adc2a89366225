"""Arrivals whose rate changes over time. The init fields are the YAML keys."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import numpy as np
from annotated_doc import Doc
from annotated_types import Ge, Gt, Le, MaxLen, MinLen

from bros_sim.core.errors import InputError
from bros_sim.workload.arrivals import OpenArrivals, Rate, Times
from bros_sim.workload.intensity import MAX_SEGMENTS, StepRate, check_count

Duration = Annotated[float, Ge(1e-3), Le(1e9)]
Probability = Annotated[float, Ge(0), Le(1)]
Step = Annotated[tuple[float, ...], MinLen(2), MaxLen(2)]
DAY = 86_400.0
MINUTES_A_DAY = 1440


class Profiled(OpenArrivals):
    """Poisson processes whose rate follows a profile."""

    def profile(self, duration_s: float) -> StepRate:
        """The rate in a run of this length."""
        raise NotImplementedError

    def times(self, duration_s: float, rng: np.random.Generator) -> Times:
        return self.profile(duration_s).times(duration_s, rng)

    def check(self, duration_s: float) -> None:
        self.profile(duration_s).check(duration_s)


@dataclass(frozen=True)
class Mmpp(OpenArrivals):
    """Markov-modulated Poisson: exponential stays in states of different rate.

    The start state is drawn from the long-run share of time, so the process is stationary.
    """

    rates_rps: Annotated[tuple[Rate, ...], MinLen(2), Doc("rate in each state")]
    sojourn_s: Annotated[tuple[Duration, ...], MinLen(2), Doc("mean stay in each state")]
    transition: Annotated[
        tuple[tuple[Probability, ...], ...] | None,
        Doc("probability of the next state, one row per state; needed from three states on"),
    ] = None

    def __post_init__(self) -> None:
        states = len(self.rates_rps)
        if len(self.sojourn_s) != states:
            raise ValueError(f"sojourn_s: needs {states} values, one for each rate")
        if self.transition is None and states > 2:
            raise ValueError("transition: needed from three states on")
        for row, chances in enumerate(self.transition or ()):
            if len(chances) != states or abs(sum(chances) - 1) > 1e-6:
                raise ValueError(f"transition: row {row} must hold {states} values of sum 1")
        if self.transition is not None and len(self.transition) != states:
            raise ValueError(f"transition: needs {states} rows, one for each rate")

    @property
    def _jumps(self) -> Times:
        jumps = np.array(self.transition or ((0.0, 1.0), (1.0, 0.0)))
        return np.asarray(jumps / jumps.sum(axis=1, keepdims=True))

    @property
    def shares(self) -> Times:
        """Long-run share of time in each state."""
        jumps, states = self._jumps, len(self.rates_rps)
        balance = np.vstack([jumps.T - np.eye(states), np.ones(states)])
        visits = np.linalg.lstsq(balance, np.append(np.zeros(states), 1.0), rcond=None)[0]
        time = np.maximum(visits, 0) * np.array(self.sojourn_s)
        return np.asarray(time / time.sum())

    @property
    def rate_rps(self) -> float:
        return float(self.shares @ np.array(self.rates_rps))

    def times(self, duration_s: float, rng: np.random.Generator) -> Times:
        self.check(duration_s)
        return self._path(duration_s, rng).times(duration_s, rng)

    def check(self, duration_s: float) -> None:
        if duration_s / min(self.sojourn_s) > MAX_SEGMENTS:
            raise InputError("arrivals: the sojourns are too short for such a long run")
        check_count(self.rate_rps * duration_s)

    def _path(self, duration_s: float, rng: np.random.Generator) -> StepRate:
        upto = np.cumsum(self._jumps, axis=1)
        state = int(np.searchsorted(np.cumsum(self.shares), rng.random()))
        starts, rates, now = [], [], 0.0
        while now < duration_s:
            state = min(state, len(self.rates_rps) - 1)
            starts.append(now)
            rates.append(self.rates_rps[state])
            now += rng.exponential(self.sojourn_s[state])
            state = int(np.searchsorted(upto[state], rng.random(), side="right"))
        return StepRate(np.array(starts), np.array(rates))


@dataclass(frozen=True)
class OnOff(OpenArrivals):
    """Bursts: a Poisson process that is switched on and off for exponential times."""

    rate_rps: Annotated[Rate, Doc("rate while on")]
    on_s: Annotated[Duration, Doc("mean length of a burst")]
    off_s: Annotated[Duration, Doc("mean length of a pause")]
    off_rate_rps: Annotated[Rate, Doc("rate while off")] = 0.0

    def times(self, duration_s: float, rng: np.random.Generator) -> Times:
        return self._process.times(duration_s, rng)

    def check(self, duration_s: float) -> None:
        self._process.check(duration_s)

    @property
    def _process(self) -> Mmpp:
        return Mmpp((self.rate_rps, self.off_rate_rps), (self.on_s, self.off_s))


@dataclass(frozen=True)
class Piecewise(Profiled):
    """A Poisson process whose rate follows a table (ramps, spikes, drains, any profile)."""

    steps: Annotated[
        tuple[Step, ...], MinLen(1), Doc("[[from_s, rate_rps], ...]; the first from 0, rising")
    ]
    period_s: Annotated[
        float | None, Ge(1e-3), Le(1e9), Doc("repeat the table; else the last rate lasts")
    ] = None
    scale: Annotated[float, Ge(0), Le(1e6), Doc("multiplies every rate")] = 1.0

    def __post_init__(self) -> None:
        starts = [start for start, _ in self.steps]
        if starts[0] != 0 or any(b <= a for a, b in pairwise(starts)):
            raise ValueError("steps: times must start at 0 and rise")
        if any(not 0 <= rate <= 1e6 for _, rate in self.steps):
            raise ValueError("steps: rates must lie in 0..1e6")
        if self.period_s is not None and self.period_s <= starts[-1]:
            raise ValueError(f"period_s: must be later than the last step at {starts[-1]:g} s")

    def profile(self, duration_s: float) -> StepRate:
        table = np.array(self.steps, np.float64)
        return StepRate(table[:, 0], table[:, 1], self.period_s, self.scale)


@dataclass(frozen=True)
class Diurnal(Profiled):
    """A Poisson process with a daily cycle of given mean.

    By ``hourly`` (24 weights, any scale), or by ``peak_to_trough``: a cosine with that ratio
    between its highest and lowest rate, in steps of a minute, highest at ``peak_hour``.
    """

    rate_rps: Annotated[Rate, Doc("mean over a whole day")]
    hourly: Annotated[
        tuple[Annotated[float, Ge(0)], ...] | None,
        MinLen(24),
        MaxLen(24),
        Doc("relative rate in each hour of the day"),
    ] = None
    peak_to_trough: Annotated[float | None, Ge(1), Le(1e6), Doc("highest over lowest rate")] = None
    peak_hour: Annotated[float, Ge(0), Le(24), Doc("hour of the highest rate")] = 14.0
    start_hour: Annotated[float, Ge(0), Le(24), Doc("hour at which the run starts")] = 0.0
    day_s: Annotated[float, Gt(0), Ge(1), Le(1e9), Doc("length of a day, to play it faster")] = DAY

    def __post_init__(self) -> None:
        if (self.hourly is None) == (self.peak_to_trough is None):
            raise ValueError("give either hourly or peak_to_trough")
        if self.hourly is not None and not 0 < sum(self.hourly) < np.inf:
            raise ValueError("hourly: at least one hour must have a weight above 0")

    @property
    def _weights(self) -> Times:
        """Relative rate in each step of the day; the mean is 1."""
        ratio = self.peak_to_trough
        if ratio is None:
            weights = np.array(self.hourly)
        else:
            hours = (np.arange(MINUTES_A_DAY) + 0.5) / 60
            swing = (ratio - 1) / (ratio + 1)
            weights = np.array(1 + swing * np.cos((hours - self.peak_hour) * np.pi / 12))
        return np.asarray(weights / weights.mean())

    def profile(self, duration_s: float) -> StepRate:
        weights = self._weights
        step_s = self.day_s / len(weights)
        steps = np.arange(len(weights)) - self.start_hour / 24 * len(weights)
        turned = steps * step_s % self.day_s
        order = np.argsort(turned)
        starts, rates = np.asarray(turned[order], np.float64), weights[order] * self.rate_rps
        if starts[0] > 0:
            starts, rates = np.append(0.0, starts), np.append(rates[-1], rates)
        return StepRate(starts, rates, self.day_s)
