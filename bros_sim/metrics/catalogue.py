"""METRICS: what every number of a summary means. Plain data, shared by metrics, plots and docs."""

from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Metric:
    """Meaning of one summary key.

    ``unit`` "share" is a number from 0 to 1 that figures and tables print in per cent. ``better``
    says which direction is good; ``None`` where neither is.
    """

    unit: str
    label: str
    doc: str
    better: Better | None


LATENCIES: dict[str, Metric] = {
    "ttft": Metric("ms", "TTFT", "arrival to first token, queueing included", "lower"),
    "tpot": Metric("ms", "TPOT", "(last - first token) / (n - 1); none for n = 1", "lower"),
    "itl": Metric("ms", "ITL", "gap between tokens, pooled over all tokens", "lower"),
    "e2e": Metric("ms", "E2E latency", "arrival to last token", "lower"),
    "normalized_latency": Metric("ms/token", "Normalized latency", "e2e / n", "lower"),
    "queue_time": Metric("ms", "Queue time", "arrival to first scheduled", "lower"),
}
"""Latencies by their name in conventions; a summary holds each as mean and percentiles."""

STATISTICS: dict[str, float | None] = {
    "mean": None, "p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9,
}  # fmt: skip
"""Prefix of the summary key -> percentile, linear interpolation; ``None`` is the mean."""

P999_FROM = 10_000
"""Arrived requests of a class from which ``p999_`` keys are given."""

_STEADY = "_steady"
_RATES: dict[str, Metric] = {
    "goodput": Metric("req/s", "Goodput", "good requests per second", "higher"),
    "request_throughput": Metric(
        "req/s", "Request throughput", "completed requests per second", "higher"
    ),
    "output_throughput": Metric(
        "tokens/s", "Output throughput", "generated tokens per second", "higher"
    ),
    "total_token_throughput": Metric(
        "tokens/s", "Total token throughput", "prompt and generated tokens per second", "higher"
    ),
}


def _over(rates: dict[str, Metric]) -> dict[str, Metric]:
    """Each rate twice: over the makespan, and over the steady window."""
    whole = {
        name: Metric(m.unit, m.label, f"{m.doc}, over the makespan", m.better)
        for name, m in rates.items()
    }
    steady = {
        name + _STEADY: Metric(
            m.unit, f"{m.label} (steady)", f"{m.doc}, over [warm-up, duration_s]", m.better
        )
        for name, m in rates.items()
    }
    return whole | steady


def _statistics(latencies: dict[str, Metric]) -> dict[str, Metric]:
    """``mean_ttft_ms`` and so on."""
    return {
        f"{stat}_{name}_ms": Metric(
            m.unit,
            f"{'Mean' if stat == 'mean' else stat} {m.label}",
            f"{stat} of: {m.doc}",
            "lower",
        )
        for name, m in latencies.items()
        for stat in STATISTICS
    }


METRICS: dict[str, Metric] = {
    "arrived": Metric("requests", "Arrived", "requests that arrived in the window", None),
    "completed": Metric("requests", "Completed", "requests that got all their tokens", "higher"),
    "rejected": Metric(
        "requests", "Rejected", "requests that could never fit or were turned away", "lower"
    ),
    "unfinished": Metric("requests", "Unfinished", "requests still in the system", "lower"),
    "slo_attainment": Metric(
        "share", "SLO attainment", "completed and met every SLO / arrived with an SLO", "higher"
    ),
    "ttft_attainment": Metric(
        "share", "TTFT attainment", "completed and met its TTFT SLO / arrived with an SLO", "higher"
    ),
    "tpot_attainment": Metric(
        "share", "TPOT attainment", "completed and met its TPOT SLO / arrived with an SLO", "higher"
    ),
    "e2e_attainment": Metric(
        "share", "E2E attainment", "completed and met its E2E SLO / arrived with an SLO", "higher"
    ),
    "token_slo_attainment_deadline": Metric(
        "share",
        "Token SLO attainment (deadline)",
        "tokens by arrival + ttft_slo + (k - 1) * tpot_slo / tokens owed",
        "higher",
    ),
    "token_slo_attainment_gap": Metric(
        "share", "Token SLO attainment (gap)", "gaps <= tpot_slo / gaps owed", "higher"
    ),
    **_over(_RATES),
    **_statistics(LATENCIES),
    "max_itl_ms": Metric("ms", "Worst stall", "longest gap between two tokens", "lower"),
    "longest_wait_ms": Metric(
        "ms", "Longest wait", "longest time to first scheduled, or to the end of the run", "lower"
    ),
    "num_preemptions": Metric("preemptions", "Preemptions", "times a request lost its KV", "lower"),
    "recomputed_tokens": Metric("tokens", "Recomputed tokens", "KV computed again", "lower"),
    "swapped_blocks": Metric("blocks", "Swapped blocks", "blocks moved to the CPU", "lower"),
    "checkpointed_slots": Metric(
        "tokens",
        "Checkpointed slots",
        "best-effort tokens saved before they were lost",
        "lower",
    ),
    "cached_tokens": Metric("tokens", "Cached tokens", "prompt tokens from the prefix cache", None),
    "mean_kv_usage": Metric(
        "share", "Mean KV usage", "KV tokens resident / KV slots, mean over busy time", None
    ),
    "max_kv_usage": Metric("share", "Peak KV usage", "most KV tokens resident / KV slots", None),
    "replicas": Metric("replicas", "Replicas", "replicas of the cluster (run)", None),
    "kv_blocks": Metric("blocks", "KV blocks", "KV blocks of a replica (run)", None),
    "kv_slots": Metric("tokens", "KV slots", "tokens that these blocks hold (run)", None),
    "saturation": Metric(
        "", "Saturation", "stable | backlogged | overloaded | too short to tell", None
    ),
    "backlog_slope": Metric(
        "req/s", "Backlog slope", "growth of the backlog in the second half of the window", "lower"
    ),
    "extrapolated_share": Metric(
        "share", "Extrapolated", "iterations outside the profile's validity range (run)", "lower"
    ),
    "be_retention": Metric(
        "share",
        "BE retention",
        "BE output_throughput_steady / that of the same cluster serving BE alone, if asked for",
        "higher",
    ),
    "makespan_s": Metric("s", "Makespan", "first arrival to last token of the run", "lower"),
    "warmup_s": Metric("s", "Warm-up", "start of the window that metrics look at (run)", None),
}
"""Summary key -> its meaning, in the order of the summary's columns."""


def metric_name(name: str) -> str:
    """The summary key for ``name``; vLLM's ``e2el`` is the same as ``e2e``."""
    return name.replace("e2el", "e2e")
