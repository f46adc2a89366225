"""Latencies of a class: their mean and percentiles, in ms."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from bros_sim.metrics.requests import floats
from bros_sim.metrics.sample import Sample
from bros_sim.metrics.tokens import Floats

V = TypeVar("V")
Measured = Callable[[Sample], V]
"""Computes a metric; None leaves it out of the summary."""
Percentiles = list[float]
Distribution = Callable[[Sample, Percentiles], tuple[float, list[float]]]
"""Mean and percentiles of a latency, in seconds."""

STATISTICS: dict[str, float | None] = {
    "mean": None, "p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9,
}  # fmt: skip
"""Prefix of the summary key -> percentile, linear interpolation; ``None`` is the mean."""

P999_FROM = 10_000
"""Arrived requests of a class from which ``p999_`` keys are given."""


def spread(distribution: Distribution) -> Measured[dict[str, float]]:
    """All of `STATISTICS` of a latency, in ms."""

    def measure(sample: Sample) -> dict[str, float]:
        large = int(sample.in_window.sum()) >= P999_FROM
        given = {k: q for k, q in STATISTICS.items() if k != "p999" or large}
        mean, points = distribution(sample, [q for q in given.values() if q is not None])
        return {name: 1e3 * s for name, s in zip(given, [mean, *points], strict=True)}

    return measure


def statistic(of_latency: Measured[dict[str, float]], name: str) -> Measured[float | None]:
    """One of them."""
    return lambda sample: sample.once(of_latency).get(name)


def column(name: str) -> Distribution:
    """Of a column of the request table."""
    return lambda sample, percentiles: _distribution(floats(sample.window, name), percentiles)


def itl(sample: Sample, percentiles: Percentiles) -> tuple[float, list[float]]:
    """Of all gaps between tokens, pooled."""
    return sample.run.gaps.statistics(sample.in_window, percentiles)


def normalized_latency(sample: Sample, percentiles: Percentiles) -> tuple[float, list[float]]:
    """Of E2E latency per token."""
    tokens = np.maximum(sample.run.generated[sample.in_window], 1)
    return _distribution(floats(sample.window, "e2e_s") / tokens, percentiles)


def queue_time(sample: Sample, percentiles: Percentiles) -> tuple[float, list[float]]:
    """Of the time from arrival to first scheduled."""
    table = sample.window
    waits = floats(table, "first_scheduled_s") - floats(table, "arrival_s")
    return _distribution(waits, percentiles)


def _distribution(values: Floats, percentiles: Percentiles) -> tuple[float, list[float]]:
    """Mean and percentiles of what is not missing."""
    found = known(values)
    if not found.size:
        return np.nan, [np.nan] * len(percentiles)
    return float(found.mean()), [float(v) for v in np.percentile(found, percentiles)]


def known(values: Floats) -> Floats:
    """Those that are not missing."""
    return values[~np.isnan(values)]
