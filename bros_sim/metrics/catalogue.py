"""METRICS: every number of a summary. A new one is a line here and its function of a `Sample`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from bros_sim.metrics import measured
from bros_sim.metrics.measured import attainment, column, rate, total, with_status
from bros_sim.metrics.requests import SLO_DIMENSIONS
from bros_sim.metrics.sample import Run, Sample
from bros_sim.metrics.saturation import WarmUp
from bros_sim.metrics.tables import RunTables
from bros_sim.metrics.usage import CLASSES, extrapolated_share, kv_slots

Better = Literal["higher", "lower"]
Value = float | str
Summary = dict[str, Value]


@dataclass(frozen=True, slots=True)
class Metric:
    """One summary key; unit "share" runs from 0 to 1, figures and tables print it in per cent.

    ``better`` is the good direction, None where neither is. ``of`` computes it; one without
    compares points and is added to their summaries (`study.results`).
    """

    unit: str
    label: str
    doc: str
    better: Better | None
    of: measured.Measured[Value | None] | None = None


# fmt: off
LATENCIES: dict[str, tuple[str, str, str, measured.Distribution]] = {
    "ttft": ("ms", "TTFT", "arrival to first token, queueing included", column("ttft_s")),
    "tpot": ("ms", "TPOT", "(last - first token) / (n - 1); none for n = 1", column("tpot_s")),
    "itl": ("ms", "ITL", "gap between tokens, pooled over all tokens", measured.itl),
    "e2e": ("ms", "E2E latency", "arrival to last token", column("e2e_s")),
    "normalized_latency": ("ms/token", "Normalized latency", "e2e / n",
        measured.normalized_latency),
    "queue_time": ("ms", "Queue time", "arrival to first scheduled", measured.queue_time),
}
"""Each by its name in conventions; a summary holds its mean and percentiles."""

RATES: dict[str, tuple[str, str, str, Callable[[measured.Span], int]]] = {
    "goodput": ("req/s", "Goodput", "good requests per second",
        lambda span: int((span.requests["slo_met"] & span.left).sum())),
    "request_throughput": ("req/s", "Request throughput", "completed requests per second",
        lambda span: int(span.left.sum())),
    "output_throughput": ("tokens/s", "Output throughput", "generated tokens per second",
        lambda span: span.output),
    "total_token_throughput": ("tokens/s", "Total token throughput",
        "prompt and generated tokens per second",
        lambda span: span.output + int(span.requests["prompt_tokens"][span.begun].sum())),
}
# fmt: on


def _statistics(name: str) -> dict[str, Metric]:
    unit, label, doc, distribution = LATENCIES[name]
    found = measured.spread(distribution)
    return {
        f"{stat}_{name}_ms": Metric(
            unit, f"{'Mean' if stat == 'mean' else stat} {label}", f"{stat} of: {doc}", "lower",
            measured.statistic(found, stat),
        )
        for stat in measured.STATISTICS
    }  # fmt: skip


def _rates(
    ending: str, label: str, over: str, span: Callable[[Sample], measured.Span]
) -> dict[str, Metric]:
    return {
        name + ending: Metric(unit, words + label, doc + over, "higher", rate(count, span))
        for name, (unit, words, doc, count) in RATES.items()
    }


# fmt: off
METRICS: dict[str, Metric] = {
    "arrived": Metric("requests", "Arrived", "requests that arrived in the window", None,
        lambda s: int(s.in_window.sum())),
    "completed": Metric("requests", "Completed", "requests that got all their tokens", "higher",
        with_status("completed")),
    "rejected": Metric("requests", "Rejected", "requests that could never fit or were turned away",
        "lower", with_status("rejected")),
    "unfinished": Metric("requests", "Unfinished", "requests still in the system", "lower",
        with_status("unfinished")),
    "slo_attainment": Metric("share", "SLO attainment",
        "completed and met every SLO / arrived with an SLO", "higher", attainment()),
    **{f"{name}_attainment": Metric(
        "share", f"{name.upper()} attainment",
        f"completed and met its {name.upper()} SLO / arrived with an SLO", "higher",
        attainment(name)) for name in SLO_DIMENSIONS},
    "token_slo_attainment_deadline": Metric("share", "Token SLO attainment (deadline)",
        "tokens by arrival + ttft_slo + (k - 1) * tpot_slo / tokens owed", "higher",
        measured.tokens_by_deadline),
    "token_slo_attainment_gap": Metric("share", "Token SLO attainment (gap)",
        "gaps <= tpot_slo / gaps owed", "higher", measured.gaps_within),
    **_rates("", "", ", over the makespan", measured.makespan),
    **_rates("_steady", " (steady)", ", over [warm-up, duration_s]", measured.steady),
    **{key: metric for name in LATENCIES for key, metric in _statistics(name).items()},
    "max_itl_ms": Metric("ms", "Worst stall", "longest gap between two tokens", "lower",
        measured.max_itl_ms),
    "longest_wait_ms": Metric("ms", "Longest wait",
        "longest time to first scheduled, or to the end of the run", "lower",
        measured.longest_wait_ms),
    "num_preemptions": Metric("preemptions", "Preemptions", "times a request lost its KV", "lower",
        total("num_preemptions")),
    "recomputed_tokens": Metric("tokens", "Recomputed tokens", "KV computed again", "lower",
        total("recomputed_tokens")),
    "swapped_blocks": Metric("blocks", "Swapped blocks", "blocks moved to the CPU", "lower",
        total("swapped_blocks")),
    "checkpointed_slots": Metric("tokens", "Checkpointed slots",
        "best-effort tokens saved before they were lost", "lower", total("checkpointed_slots")),
    "cached_tokens": Metric("tokens", "Cached tokens", "prompt tokens from the prefix cache", None,
        total("cached_tokens")),
    "mean_kv_usage": Metric("share", "Mean KV usage",
        "KV tokens resident / KV slots, mean over busy time", None,
        lambda s: s.run.usage[s.name][0]),
    "max_kv_usage": Metric("share", "Peak KV usage", "most KV tokens resident / KV slots", None,
        lambda s: s.run.usage[s.name][1]),
    "replicas": Metric("replicas", "Replicas", "replicas of the cluster (run)", None,
        lambda s: len(s.run.tables.engines)),
    "kv_blocks": Metric("blocks", "KV blocks", "KV blocks of a replica (run)", None,
        lambda s: int(s.run.tables.engines["kv_blocks"][0])),
    "kv_slots": Metric("tokens", "KV slots", "tokens that these blocks hold (run)", None,
        lambda s: int(kv_slots(s.run.tables)[0])),
    "saturation": Metric("", "Saturation", "stable | backlogged | overloaded | too short to tell",
        None, lambda s: s.backlog[0]),
    "backlog_slope": Metric("req/s", "Backlog slope",
        "growth of the backlog in the second half of the window", "lower", lambda s: s.backlog[1]),
    "extrapolated_share": Metric("share", "Extrapolated",
        "iterations outside the profile's validity range (run)", "lower",
        lambda s: extrapolated_share(s.run.tables.steps)),
    "be_retention": Metric("share", "BE retention",
        "BE output_throughput_steady / that of the BE-only baseline, if asked for", "higher"),
    "makespan_s": Metric("s", "Makespan", "first arrival to last token of the run", "lower",
        lambda s: s.run.makespan_s),
    "warmup_s": Metric("s", "Warm-up", "start of the window that metrics look at (run)", None,
        lambda s: s.run.warmup_s),
}
# fmt: on
"""Summary key -> metric, in the order of the summary's columns."""


def metric_name(name: str) -> str:
    """The summary key for ``name``; vLLM's ``e2el`` is the same as ``e2e``."""
    return name.replace("e2el", "e2e")


def summarise(
    tables: RunTables, requests: pd.DataFrame, *, warmup_s: WarmUp = 0.0
) -> dict[str, Summary]:
    """All metrics of a run by class: ``rt``, ``be`` and ``all``.

    Counts, latencies, SLO figures and token counters are over the ``requests`` (`request_metrics`)
    that arrived at or after ``warmup_s``, each judged by its own fate up to the end of the drain; a
    latency over those that have it. Rates over the makespan count the whole run, steady ones what
    happened in the window. With ``mser5`` that rule says how much to leave out (`left_out`); a
    class of a run that never settled is ``too short``, not ``stable``. ``p999_`` keys need 10,000
    requests; NaN where there is nothing to measure.
    """
    run = Run(tables, requests, warmup_s)
    return {name: _of_class(Sample(run, name)) for name in CLASSES}


def _of_class(sample: Sample) -> Summary:
    summary: Summary = {}
    for key, metric in METRICS.items():
        if metric.of and (value := metric.of(sample)) is not None:
            summary[key] = value if isinstance(value, str | int) else float(value)
    return summary
