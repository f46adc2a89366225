"""Stationary renewal processes, and the Poisson process of a rate that changes in steps.

Renewal times are operational: unit mean gap, epochs in ``[0, horizon)``. The first gap is the
residual of a gap in progress (length-biased gap times a uniform), so that the expected number of
epochs is exactly ``horizon`` however irregular the gaps are.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bros_sim.core.errors import InputError

MAX_EPOCHS = 20_000_000
"""Most arrivals of one stream; more would exhaust the memory long before the run ends."""
MAX_SEGMENTS = 5_000_000
PENALTY = 4.0
"""Log-likelihood that one more step of a fitted rate must gain.

At 4 one rule describes both a slowly drifting trace (Azure conversation: 31 steps in an hour) and
an on/off one (Azure code: 255), and re-sampling gives their variance at 1, 10, 60 and 300 s.
"""
MAX_FIT_BINS = 4096
Floats = NDArray[np.float64]
Gaps = Callable[[int], Floats]


def check_count(expected: float) -> None:
    """An `InputError` if so many arrivals are expected that they would not fit in memory."""
    if expected > MAX_EPOCHS:
        what = f"would make {expected:.3g} requests; the most is {MAX_EPOCHS:.0e}"
        raise InputError(f"arrivals: {what} (lower the rate or the duration)")


def _epochs(first: float, gaps: Gaps, horizon: float, cv: float) -> Floats:
    check_count(horizon)
    blocks, last = [np.array([first])], first
    spread = 4 * cv * math.sqrt(horizon) + 16
    while last < horizon:
        size = min(int(horizon - last + spread) + 1, MAX_EPOCHS)
        blocks.append(last + np.cumsum(gaps(size)))
        last = float(blocks[-1][-1])
    epochs = np.concatenate(blocks)
    return epochs[: np.searchsorted(epochs, horizon)]


def poisson_epochs(horizon: float, rng: np.random.Generator) -> Floats:
    """A Poisson process of rate 1."""
    check_count(horizon)
    return np.sort(rng.random(rng.poisson(horizon))) * horizon


def gamma_epochs(shape: float, horizon: float, rng: np.random.Generator) -> Floats:
    """Gamma gaps; the coefficient of variation is ``1 / sqrt(shape)``."""
    first = rng.random() * rng.gamma(shape + 1) / shape
    return _epochs(first, lambda n: rng.gamma(shape, 1 / shape, n), horizon, shape**-0.5)


def weibull_epochs(shape: float, horizon: float, rng: np.random.Generator) -> Floats:
    """Weibull gaps of the given shape."""
    scale = 1 / math.gamma(1 + 1 / shape)
    first = rng.random() * scale * rng.gamma(1 + 1 / shape) ** (1 / shape)
    return _epochs(first, lambda n: scale * rng.weibull(shape, n), horizon, weibull_cv(shape))


def weibull_cv(shape: float) -> float:
    """Coefficient of variation of a Weibull distribution."""
    log_ratio = math.lgamma(1 + 2 / shape) - 2 * math.lgamma(1 + 1 / shape)
    return math.sqrt(math.expm1(log_ratio))


def weibull_shape(cv: float) -> float:
    """The shape of that ``cv``, in 0.01..30. Halved here: ``scipy.optimize`` loads in 0.4 s."""
    low, high = 0.1, 200.0
    for _ in range(80):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if weibull_cv(middle) > cv else (low, middle)
    return math.sqrt(low * high)


@dataclass(frozen=True, eq=False)
class StepRate:
    """``scale`` times ``rates[i]`` in requests/s from ``starts_s[i]`` to the next; the first is 0.

    With ``period_s`` the steps repeat; without, the last one lasts.
    """

    starts_s: Floats
    rates: Floats
    period_s: float | None = None
    scale: float = 1.0

    def until(self, end_s: float) -> tuple[Floats, Floats]:
        """Edges in [0, end_s], expected arrivals up to each, unscaled; `InputError` if too many."""
        starts, rates = self.starts_s, self.rates
        if self.period_s is not None:
            periods = float(np.ceil(end_s / self.period_s))
            if periods * len(starts) > MAX_SEGMENTS:
                what = f"{periods:.3g} periods of {self.period_s:g} s in one run are too many"
                raise InputError(f"arrivals: {what}")
            laps = int(periods)
            shift = np.repeat(np.arange(laps) * self.period_s, len(starts))
            starts, rates = np.tile(starts, laps) + shift, np.tile(rates, laps)
        inside = starts < end_s
        edges = np.append(starts[inside], end_s)
        expected = np.concatenate([[0.0], np.cumsum(rates[inside] * np.diff(edges))])
        return edges, expected

    def check(self, end_s: float) -> None:
        """An `InputError` as of `until`, or if too many arrivals are expected."""
        check_count(float(self.until(end_s)[1][-1]) * self.scale)

    def times(self, end_s: float, rng: np.random.Generator) -> Floats:
        """Arrivals in [0, end_s) of the Poisson process with this rate."""
        edges, expected = self.until(end_s)
        epochs = poisson_epochs(float(expected[-1]) * self.scale, rng)
        times = np.interp(epochs, expected * self.scale, edges)
        return np.asarray(times[times < end_s])

    @classmethod
    def fit(cls, times: Floats) -> "StepRate":
        """The steps of greatest penalised Poisson likelihood (Scargle's Bayesian blocks, 2013)."""
        width = max(1.0, np.ceil(times[-1] / MAX_FIT_BINS))
        bins = int(times[-1] // width) + 1
        counts = np.bincount((times // width).astype(np.int64), minlength=bins)
        upto = np.concatenate([[0], np.cumsum(counts)]).astype(np.float64)
        cuts = _best_cuts(upto, width)
        rates = np.diff(upto[cuts]) / (np.diff(cuts) * width)
        return cls(cuts[:-1] * width, rates, bins * width)


def _best_cuts(upto: Floats, width: float) -> NDArray[np.int64]:
    """Optimal partition by dynamic programming over the end of the last step."""
    bins = len(upto) - 1
    best, last = np.zeros(bins + 1), np.zeros(bins + 1, np.int64)
    for end in range(1, bins + 1):
        count = upto[end] - upto[:end]
        length = (end - np.arange(end)) * width
        gain = count * np.log(np.maximum(count, 1.0) / length)
        score = best[:end] + gain - PENALTY
        last[end] = np.argmax(score)
        best[end] = score[last[end]]
    cuts = [bins]
    while cuts[-1] > 0:
        cuts.append(int(last[cuts[-1]]))
    return np.array(cuts[::-1], np.int64)
