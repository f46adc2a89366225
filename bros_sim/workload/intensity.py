"""A rate that changes in steps, and the Poisson process that has it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bros_sim.core.errors import InputError
from bros_sim.workload.renewal import check_count, poisson_epochs

MAX_SEGMENTS = 5_000_000
PENALTY = 4.0
"""Log-likelihood that one more step of a fitted rate must gain.

At 4 one rule describes both a slowly drifting trace (Azure conversation: 31 steps in an hour) and
an on/off one (Azure code: 255), and re-sampling gives their variance at 1, 10, 60 and 300 s.
"""
MAX_FIT_BINS = 4096


@dataclass(frozen=True, eq=False)
class StepRate:
    """Rate ``rates[i]`` in requests/s from ``starts_s[i]`` to the next start; the first is 0.

    With ``period_s`` the steps repeat; without, the last one lasts.
    """

    starts_s: NDArray[np.float64]
    rates: NDArray[np.float64]
    period_s: float | None = None

    def until(self, end_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Edges in [0, end_s] and the expected number of arrivals up to each.

        Raises:
            InputError: The period is so short that the steps would fill the memory.
        """
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

    def check(self, end_s: float, scale: float) -> None:
        """An `InputError` as of `until`, or if too many arrivals are expected."""
        check_count(float(self.until(end_s)[1][-1]) * scale)

    def times(self, end_s: float, scale: float, rng: np.random.Generator) -> NDArray[np.float64]:
        """Arrivals in [0, end_s) of the Poisson process with ``scale`` times this rate."""
        edges, expected = self.until(end_s)
        epochs = poisson_epochs(float(expected[-1]) * scale, rng)
        times = np.interp(epochs, expected * scale, edges)
        return np.asarray(times[times < end_s])

    @classmethod
    def fit(cls, times: NDArray[np.float64]) -> "StepRate":
        """The steps of greatest penalised Poisson likelihood (Scargle's Bayesian blocks, 2013).

        Of counts in bins of 1 s, wider for traces beyond 4,096 s; the period is the trace's length.
        """
        width = max(1.0, np.ceil(times[-1] / MAX_FIT_BINS))
        bins = int(times[-1] // width) + 1
        counts = np.bincount((times // width).astype(np.int64), minlength=bins)
        upto = np.concatenate([[0], np.cumsum(counts)]).astype(np.float64)
        cuts = _best_cuts(upto, width)
        rates = np.diff(upto[cuts]) / (np.diff(cuts) * width)
        return cls(cuts[:-1] * width, rates, bins * width)


def _best_cuts(upto: NDArray[np.float64], width: float) -> NDArray[np.int64]:
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
