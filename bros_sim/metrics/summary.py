"""The summary of a run: every metric of METRICS, for rt, be and all requests together."""

import pandas as pd

from bros_sim.metrics.catalogue import METRICS, Value
from bros_sim.metrics.sample import Sample, prepare
from bros_sim.metrics.tables import RunTables
from bros_sim.metrics.warmup import WarmUp

Summary = dict[str, Value]
CLASSES = ("rt", "be", "all")


def summarise(
    tables: RunTables, requests: pd.DataFrame, *, warmup_s: WarmUp = 0.0
) -> dict[str, Summary]:
    """All metrics of a run by class: ``rt``, ``be`` and ``all``.

    Counts, latencies, SLO figures and token counters are over the requests that arrived at or
    after ``warmup_s``, each judged by its own fate up to the end of the drain. A latency is over
    the requests that have it (the column of the request table is not missing). Rates over the
    makespan count the whole run, rates over the steady window what happened in it.

    Args:
        tables: The run.
        requests: What ``request_metrics`` made of it.
        warmup_s: Seconds from the start to leave out; ``mser5``: as many as that rule says
            (`left_out`); a class of a run that never settled is ``too short``, not ``stable``.

    Returns:
        For each class the keys of METRICS, ``p999_`` only from 10,000 requests; NaN where there is
        nothing to measure.
    """
    run = prepare(tables, requests, warmup_s)
    return {name: _of_class(Sample(run, name)) for name in CLASSES}


def _of_class(sample: Sample) -> Summary:
    values = {key: metric.of(sample) for key, metric in METRICS.items() if metric.of}
    return {key: _plain(value) for key, value in values.items() if value is not None}


def _plain(value: Value) -> Value:
    """Python's own number, whatever numpy made of it."""
    return value if isinstance(value, str | int) else float(value)
