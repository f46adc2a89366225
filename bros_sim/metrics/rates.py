"""Rates: over the makespan as ``vllm bench serve``, and over [warm-up, duration_s].

The former take the tokens of completed requests, the latter every token at its own time and a
prompt at that of the first token.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bros_sim.metrics.latencies import Measured
from bros_sim.metrics.requests import Columns, completed, floats
from bros_sim.metrics.sample import Sample
from bros_sim.metrics.tokens import Bools


class Span(NamedTuple):
    """What happened in a time: which requests began and completed in it, and tokens generated."""

    requests: Columns
    begun: Bools
    left: Bools
    output: int
    seconds: float


Count = Callable[[Span], int]


def rate(count: Count, over: Callable[[Sample], Span]) -> Measured[float]:
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
    table, window = sample.everyone, (sample.run.warmup_s, sample.run.tables.duration_s)
    first, last = (floats(table, name) for name in ("first_token_s", "last_token_s"))
    begun, left = ((t >= window[0]) & (t <= window[1]) for t in (first, last))
    output = int(sample.run.generated_steady[sample.members].sum())
    return Span(table, begun, completed(table) & left, output, window[1] - window[0])


def goodput(span: Span) -> int:
    """Requests that completed and met their SLOs."""
    return int((span.requests["slo_met"] & span.left).sum())


def total_tokens(span: Span) -> int:
    """Generated tokens and those of prompts."""
    return span.output + int(span.requests["prompt_tokens"][span.begun].sum())
