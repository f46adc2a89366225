"""The summary of a run: every metric of METRICS, for rt, be and all requests together."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bros_sim.metrics.catalogue import LATENCIES, METRICS, P999_FROM, STATISTICS
from bros_sim.metrics.gaps import GapPool
from bros_sim.metrics.requests import (
    SLO_DIMENSIONS,
    Columns,
    completed,
    floats,
    has_any_slo,
    has_slo,
    slo_met,
    slo_met_in,
    tpot_slo_s,
)
from bros_sim.metrics.saturation import backlog_verdict
from bros_sim.metrics.tables import RunTables
from bros_sim.metrics.tokens import (
    Bools,
    Floats,
    Ints,
    gaps_on_time,
    token_rows,
)
from bros_sim.metrics.usage import extrapolated_share, kv_slots, kv_usage
from bros_sim.metrics.warmup import WarmUp, left_out

Value = float | str
Summary = dict[str, Value]
CLASSES = ("rt", "be", "all")
STATUSES = ("completed", "rejected", "unfinished")


@dataclass(frozen=True)
class _Run:
    """What all three summaries are taken from; arrays have one element per request."""

    tables: RunTables
    requests: Columns
    warmup_s: float
    settled: bool
    generated: Ints
    generated_steady: Ints
    gaps_on_time: Ints
    gaps: GapPool
    makespan_s: float
    end_s: float


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
    run = _prepare(tables, requests, warmup_s)
    usage = kv_usage(tables, run.warmup_s)
    shared: Summary = {
        "extrapolated_share": extrapolated_share(tables.steps),
        "makespan_s": run.makespan_s,
        "warmup_s": run.warmup_s,
        "replicas": len(tables.engines),
        "kv_blocks": int(tables.engines["kv_blocks"].iloc[0]),
        "kv_slots": int(kv_slots(tables)[0]),
    }
    classes = requests["class"].to_numpy()
    summaries: dict[str, Summary] = {}
    for name in CLASSES:
        members = np.ones(len(requests), np.bool_) if name == "all" else classes == name
        mean_kv, peak_kv = usage[name]
        values: Summary = dict(_of_class(run, members)) | shared
        values |= {"mean_kv_usage": mean_kv, "max_kv_usage": peak_kv}
        summaries[name] = {key: _plain(values[key]) for key in METRICS if key in values}
    return summaries


def _plain(value: Value) -> Value:
    """Python's own number, whatever numpy made of it."""
    return value if isinstance(value, str | int) else float(value)


def _prepare(tables: RunTables, requests: pd.DataFrame, wanted: WarmUp) -> _Run:
    warmup_s, settled = left_out(wanted, requests, tables.duration_s)
    rows, size = token_rows(tables), len(requests)
    columns = _columns(requests)
    before_window = np.nextafter(warmup_s, -np.inf)
    steady = rows.count_until(tables.duration_s) - rows.count_until(before_window)
    first_arrival = floats(columns, "arrival_s").min() if size else np.nan
    last_token = rows.end_s[rows.first + rows.tokens - 1].max() if rows.request.size else np.nan
    return _Run(
        tables=tables,
        requests=columns,
        warmup_s=warmup_s,
        settled=settled,
        generated=rows.sum_by_request(rows.tokens, size),
        generated_steady=rows.sum_by_request(np.maximum(steady, 0), size),
        gaps_on_time=gaps_on_time(rows, tpot_slo_s(columns)),
        gaps=GapPool(rows),
        makespan_s=float(last_token - first_arrival),
        end_s=max([tables.duration_s, *(float(e[-1]) for e in tables.iteration_end_s if e.size)]),
    )


def _columns(requests: pd.DataFrame) -> Columns:
    """What the metrics look at; whether an SLO was met is False where there is none."""
    met = requests["slo_met"].to_numpy(np.bool_, na_value=False)
    status = requests["status"].to_numpy(np.str_)
    names = [n for n in requests if n not in {"request_id", "stream", "class", "status", "slo_met"}]
    arrays = {name: requests[name].to_numpy() for name in names}
    return Columns(arrays | {"status": status, "slo_met": met})


SUMS = (
    "num_preemptions", "recomputed_tokens", "cached_tokens", "swapped_blocks", "checkpointed_slots",
)  # fmt: skip


def _of_class(run: _Run, members: Bools) -> Iterator[tuple[str, Value]]:
    """Every metric of one class; the order is that of METRICS in the end."""
    window = members & (floats(run.requests, "arrival_s") >= run.warmup_s)
    table = run.requests.where(window)
    yield "arrived", int(window.sum())
    for status in STATUSES:
        yield status, int((table["status"] == status).sum())
    for column in SUMS:
        yield column, int(table[column].sum())
    yield from _attainments(run, window)
    yield from _rates(run, members)
    yield from _latencies(run, window)
    yield "max_itl_ms", 1e3 * _max(floats(table, "max_itl_s"))
    yield "longest_wait_ms", 1e3 * _max(_waits(table, run.end_s))
    steady = (run.warmup_s, run.tables.duration_s)
    verdict, slope = backlog_verdict(run.requests, members, steady)
    yield "saturation", "too short" if verdict == "stable" and not run.settled else verdict
    yield "backlog_slope", slope


def _attainments(run: _Run, window: Bools) -> Iterator[tuple[str, Value]]:
    """Shares of requests and of tokens; NaN where no request has that SLO."""
    judged = window & has_any_slo(run.requests)
    table, number = run.requests.where(judged), int(judged.sum())
    yield "slo_attainment", _share(slo_met(table).sum(), number)
    for name in SLO_DIMENSIONS:
        owing = number if has_slo(table, name).any() else 0
        yield f"{name}_attainment", _share(slo_met_in(table, name).sum(), owing)
    has_ttft, has_tpot = has_slo(table, "ttft"), has_slo(table, "tpot")
    owed = np.where(completed(table), run.generated[judged], table["output_tokens"])
    on_time = table["tokens_on_time"]
    yield "token_slo_attainment_deadline", _share(on_time[has_ttft].sum(), owed[has_ttft].sum())
    gaps_on_time, gaps_owed = run.gaps_on_time[judged], np.maximum(owed - 1, 0)
    yield (
        "token_slo_attainment_gap",
        _share(gaps_on_time[has_tpot].sum(), gaps_owed[has_tpot].sum()),
    )


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else np.nan


def _rates(run: _Run, members: Bools) -> Iterator[tuple[str, Value]]:
    """Rates over the makespan as ``vllm bench serve``, and over [warm-up, duration_s].

    The former take the tokens of completed requests, the latter every token at its own time and a
    prompt at that of the first token.
    """
    table = run.requests.where(members)
    done, good, prompt = completed(table), table["slo_met"], table["prompt_tokens"]
    output = run.generated[members][done].sum()
    span = _positive(run.makespan_s)
    yield "goodput", good.sum() / span
    yield "request_throughput", done.sum() / span
    yield "output_throughput", output / span
    yield "total_token_throughput", (output + prompt[done].sum()) / span

    span = _positive(run.tables.duration_s - run.warmup_s)
    left_inside = done & _inside(run, floats(table, "last_token_s"))
    begun_inside = _inside(run, floats(table, "first_token_s"))
    output = run.generated_steady[members].sum()
    yield "goodput_steady", (good & left_inside).sum() / span
    yield "request_throughput_steady", left_inside.sum() / span
    yield "output_throughput_steady", output / span
    yield "total_token_throughput_steady", (output + prompt[begun_inside].sum()) / span


def _positive(span_s: float) -> float:
    """Nothing can be said per second of no time."""
    return span_s if span_s > 0 else np.nan


def _inside(run: _Run, time_s: Floats) -> Bools:
    return (time_s >= run.warmup_s) & (time_s <= run.tables.duration_s)


def _latencies(run: _Run, window: Bools) -> Iterator[tuple[str, Value]]:
    table, generated = run.requests.where(window), run.generated[window]
    e2e = floats(table, "e2e_s")
    samples = {
        "ttft": floats(table, "ttft_s"),
        "tpot": floats(table, "tpot_s"),
        "e2e": e2e,
        "normalized_latency": e2e / np.maximum(generated, 1),
        "queue_time": floats(table, "first_scheduled_s") - floats(table, "arrival_s"),
    }
    given = {k: q for k, q in STATISTICS.items() if k != "p999" or len(e2e) >= P999_FROM}
    percentiles = [q for q in given.values() if q is not None]
    for name in LATENCIES:
        mean, points = (
            run.gaps.statistics(window, percentiles)
            if name == "itl"
            else _statistics(samples[name], percentiles)
        )
        for statistic, value in zip(given, [mean, *points], strict=True):
            yield f"{statistic}_{name}_ms", 1e3 * value


def _statistics(sample: Floats, percentiles: list[float]) -> tuple[float, list[float]]:
    """Mean and percentiles of what is not missing."""
    known = sample[~np.isnan(sample)]
    if not known.size:
        return np.nan, [np.nan] * len(percentiles)
    return float(known.mean()), [float(v) for v in np.percentile(known, percentiles)]


def _max(sample: Floats) -> float:
    known = sample[~np.isnan(sample)]
    return float(known.max()) if known.size else np.nan


def _waits(table: Columns, end_s: float) -> Floats:
    """Time to first scheduled; up to the end of the run for those that still wait."""
    scheduled = floats(table, "first_scheduled_s")
    waiting = np.isnan(scheduled) & (table["status"] == "unfinished")
    return np.where(waiting, end_s, scheduled) - floats(table, "arrival_s")
