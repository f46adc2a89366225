"""Latencies, counts, shares and rates of a `Sample`: what METRICS names.

Rates over the makespan are those of ``vllm bench serve``, of the tokens of completed requests; over
[warm-up, duration_s] every token counts at its own time, and a prompt at that of the first token.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np

from bros_sim.metrics.gaps import pooled
from bros_sim.metrics.requests import Columns, Dimension, completed, floats, has_slo, slo_met
from bros_sim.metrics.sample import Sample
from bros_sim.metrics.tokens import Bools, Floats

V = TypeVar("V")
Measured = Callable[[Sample], V]
"""Computes a metric; None leaves it out of the summary."""
Distribution = Callable[[Sample, list[float]], tuple[float, list[float]]]
"""Mean and percentiles of a latency, in seconds."""
STATISTICS = {"mean": None, "p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}
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


def each(values: Measured[Floats]) -> Distribution:
    """Of one value for each request, where it is not missing."""

    def measure(sample: Sample, percentiles: list[float]) -> tuple[float, list[float]]:
        found = known(values(sample))
        if not found.size:
            return np.nan, [np.nan] * len(percentiles)
        return float(found.mean()), [float(v) for v in np.percentile(found, percentiles)]

    return measure


def column(name: str) -> Distribution:
    """Of a column of the request table."""
    return each(lambda sample: floats(sample.window, name))


def itl(sample: Sample, percentiles: list[float]) -> tuple[float, list[float]]:
    """Of all gaps between tokens, pooled."""
    return pooled(sample.run.rows, sample.in_window, percentiles)


@each
def normalized_latency(sample: Sample) -> Floats:
    """E2E latency per token."""
    return floats(sample.window, "e2e_s") / np.maximum(sample.run.generated[sample.in_window], 1)


@each
def queue_time(sample: Sample) -> Floats:
    """Time from arrival to first scheduled."""
    return floats(sample.window, "first_scheduled_s") - floats(sample.window, "arrival_s")


def known(values: Floats) -> Floats:
    """Those that are not missing."""
    return values[~np.isnan(values)]


def with_status(status: str) -> Measured[int]:
    """Requests of the window that came to this."""
    return lambda sample: int((sample.window["status"] == status).sum())


def total(column: str) -> Measured[int]:
    """The sum of a column over the requests of the window."""
    return lambda sample: int(sample.window[column].sum())


def max_itl_ms(sample: Sample) -> float:
    """The longest gap between two tokens of any request."""
    return _max_ms(floats(sample.window, "max_itl_s"))


def longest_wait_ms(sample: Sample) -> float:
    """Longest time to first scheduled; up to the end of the run for those that still wait."""
    table = sample.window
    scheduled = floats(table, "first_scheduled_s")
    waiting = np.isnan(scheduled) & (table["status"] == "unfinished")
    return _max_ms(np.where(waiting, sample.run.end_s, scheduled) - floats(table, "arrival_s"))


def _max_ms(seconds: Floats) -> float:
    found = known(seconds)
    return 1e3 * float(found.max()) if found.size else np.nan


def attainment(*dimensions: Dimension) -> Measured[float]:
    """Requests that met the SLOs of the dimensions (default: all) / those that have any."""

    def measure(sample: Sample) -> float:
        table = sample.judged
        owing = int(sample.in_judged.sum()) if has_slo(table, *dimensions).any() else 0
        return _share(slo_met(table, *dimensions).sum(), owing)

    return measure


def tokens_by_deadline(sample: Sample) -> float:
    """Tokens on time / tokens owed, of requests with a TTFT SLO."""
    has_ttft = has_slo(sample.judged, "ttft")
    on_time = sample.judged["tokens_on_time"]
    return _share(on_time[has_ttft].sum(), sample.owed[has_ttft].sum())


def gaps_within(sample: Sample) -> float:
    """Gaps within the SLO / gaps owed, of requests with a TPOT SLO."""
    has_tpot = has_slo(sample.judged, "tpot")
    on_time, owed = sample.run.gaps_on_time[sample.in_judged], np.maximum(sample.owed - 1, 0)
    return _share(on_time[has_tpot].sum(), owed[has_tpot].sum())


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else np.nan


class Span(NamedTuple):
    """What happened in a time: which requests began and completed in it, and tokens generated."""

    requests: Columns
    begun: Bools
    left: Bools
    output: int
    seconds: float


def rate(count: Callable[[Span], int], over: Callable[[Sample], Span]) -> Measured[float]:
    """What is counted per second; of no time nothing can be said."""

    def measure(sample: Sample) -> float:
        span = sample.once(over)
        return count(span) / (span.seconds if span.seconds > 0 else np.nan)

    return measure


def makespan(sample: Sample) -> Span:
    """The whole run."""
    table = sample.everyone
    done = completed(table)
    output = int(sample.run.generated[sample.members][done].sum())
    return Span(table, done, done, output, sample.run.makespan_s)


def steady(sample: Sample) -> Span:
    """The window of arrivals without the warm-up."""
    table, start, end = sample.everyone, sample.run.warmup_s, sample.run.tables.duration_s
    first, last = (floats(table, name) for name in ("first_token_s", "last_token_s"))
    begun, left = ((t >= start) & (t <= end) for t in (first, last))
    output = int(sample.run.generated_steady[sample.members].sum())
    return Span(table, begun, completed(table) & left, output, end - start)
