"""Is the run a steady state? A verdict by the slope of the backlog, and how much to leave out.

The latter is MSER-5 on the requests in the system (White, Simulation 1997; White, Cobb and Spratt,
WSC 2000): of all truncations that after which the mean of the rest has the least standard error.
"""

from typing import Literal

import numpy as np
import pandas as pd

from bros_sim.metrics.requests import Table, completed, floats
from bros_sim.metrics.tokens import Bools, Floats

Verdict = Literal["stable", "backlogged", "overloaded", "too short"]
SAMPLES = 201
CHANCE = 2.0
"""A rise within this many square roots of the arrivals is chance."""
CERTAIN = 3.0
"""Standard deviations from which a rise is more than requests that stay long explain."""
LEAST_RISE = 10.0
"""Nor does a rise of so few requests say anything."""
OVERLOAD = 0.05
"""Share of the arrivals that pile up in an overload."""
LEAST_ARRIVALS = 100
"""With fewer arrivals an overload of a fifth could pass for chance."""
LONGEST_SERVICE = 0.25
"""Mean service time, as a share of the window, up to which the system is full at half time."""


def backlog_verdict(
    requests: Table, members: Bools, window: tuple[float, float]
) -> tuple[Verdict, float]:
    """``saturation`` of the members of a class; who arrived in the warm-up is in the backlog."""
    arrival, departure = stays(requests)
    queued = members & np.asarray(requests["status"] != "rejected", dtype=np.bool_)
    served = members & completed(requests) & (arrival >= window[0])
    service = departure - floats(requests, "first_scheduled_s")
    return saturation(arrival[queued], departure[queued], service[served], window)


def stays(requests: Table) -> tuple[Floats, Floats]:
    """Arrival and departure of each request; NaN for those that never left."""
    arrival, last = floats(requests, "arrival_s"), floats(requests, "last_token_s")
    return arrival, np.where(completed(requests), last, np.nan)


def backlog(arrival_s: Floats, departure_s: Floats, times: Floats) -> Floats:
    """Requests in the system at each time: arrived, last token not out; NaN lies nowhere."""
    events_s = (np.sort(arrival_s), np.sort(departure_s))
    arrived, left = (np.searchsorted(at_s, times, side="right") for at_s in events_s)
    return (arrived - left).astype(np.float64)


def saturation(
    arrival_s: Floats, departure_s: Floats, service_s: Floats, window: tuple[float, float]
) -> tuple[Verdict, float]:
    """Verdict on the backlog, and its slope in requests per second.

    The backlog is the number of requests in the system: arrived, not rejected, last token not out.
    A least-squares line through it over the second half of the window (the first half is left to
    the system to fill) gives the slope; rise = slope * half window, n = arrivals in that half:

    - ``too short``: mean service time (first scheduled to last token) over a quarter of the window;
    - ``too short``: abs(rise) > max(2 sqrt(n), 10), but within three standard deviations of what a
      system that never queues would show with these service times (``_never_queueing``);
    - ``overloaded``: rise > max(2 sqrt(n), 10) and rise >= 5 % of n;
    - ``backlogged``: else abs(rise) > max(2 sqrt(n), 10): slow growth, or an old backlog drains;
    - ``too short``: else n < 100;
    - ``stable``: else.

    2 sqrt(n) is what a queue at exactly full load drifts by chance in n Poisson arrivals. The first
    two columns are of all requests that were not rejected (NaN or infinity: never left), the
    service times of the completed ones; the window is warm-up and end of the arrivals.
    """
    start, end = window
    if end <= start:
        return "too short", np.nan
    times = np.linspace((start + end) / 2, end, SAMPLES)
    line = backlog(arrival_s, departure_s, times)
    half = times[-1] - times[0]
    centred = times - times.mean()
    slope = float((centred * line).sum() / (centred**2).sum())
    count = float(np.count_nonzero((arrival_s > times[0]) & (arrival_s <= end)))
    filling = service_s.size > 0 and float(service_s.mean()) > LONGEST_SERVICE * (end - start)
    verdict = _verdict(slope * half, count)
    if verdict in {"overloaded", "backlogged"} and service_s.size:
        weights = centred / (centred**2).sum() * half
        since = times - float(arrival_s.min())
        mean, deviation = _never_queueing(service_s, count / half, since, weights)
        filling |= abs(slope * half - mean) <= CERTAIN * deviation
    return ("too short" if filling else verdict), slope


def _never_queueing(
    service_s: Floats, rate_rps: float, times: Floats, weights: Floats
) -> tuple[float, float]:
    """Mean and standard deviation of the weighted sum of the backlog of an M/G/infinity queue.

    It is empty at time 0 and has these service times S: with M(t) = E[min(S, t)] the backlog at t
    is Poisson with mean rate M(t); for t <= u its covariance with that at u is
    rate (M(u) - M(u - t)).
    """
    service = np.sort(service_s)
    total = np.concatenate(([0.0], np.cumsum(service)))

    def mean_until(t: Floats) -> Floats:
        done = np.searchsorted(service, t, side="right")
        return np.asarray((total[done] + (service.size - done) * t) / service.size)

    reached = mean_until(times)
    covariance = np.maximum.outer(reached, reached)
    covariance -= mean_until(np.abs(np.subtract.outer(times, times)))
    variance = float((weights[:, None] * covariance * weights).sum())  # no BLAS: the same bytes
    return float((weights * reached).sum()) * rate_rps, (max(variance, 0.0) * rate_rps) ** 0.5


def _verdict(rise: float, arrivals: float) -> Verdict:
    chance = max(CHANCE * arrivals**0.5, LEAST_RISE)
    if rise > chance and rise >= OVERLOAD * arrivals:
        return "overloaded"
    if abs(rise) > chance:
        return "backlogged"
    return "stable" if arrivals >= LEAST_ARRIVALS else "too short"


WarmUp = float | Literal["mser5"]
BATCH = 5
OBSERVATIONS = 1000
"""Samples of the backlog, evenly spaced over the window of arrivals."""
LEAST_LEFT = 5
"""Batches whose spread still says something."""


def left_out(wanted: WarmUp, requests: pd.DataFrame, duration_s: float) -> tuple[float, bool]:
    """Seconds to leave out, and whether the run settled: a truncation behind the middle says no."""
    if not isinstance(wanted, str):
        return wanted, True
    kept = requests[(requests["status"] != "rejected").to_numpy(np.bool_)]
    times = (np.arange(OBSERVATIONS) + 0.5) * duration_s / OBSERVATIONS
    share = mser5(backlog(*stays(kept), times))
    return min(share, 0.5) * duration_s, share <= 0.5


def mser5(series: Floats) -> float:
    """The share of ``series`` to leave out at its start; ties for the smallest."""
    batches = series[: series.size // BATCH * BATCH].reshape(-1, BATCH).mean(axis=1)
    left = np.arange(batches.size, 0, -1)  # batches that remain from each one on
    total, squares = (np.cumsum(x[::-1])[::-1] for x in (batches, batches**2))
    error = (squares - total**2 / left) / left**2
    error = np.maximum(error[: -LEAST_LEFT + 1], 1e-12 * float(squares[0]) / batches.size**2)
    return int(np.argmin(error)) / len(batches)
