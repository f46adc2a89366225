"""The numbers by which traces, twins and generators are compared."""

from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from bros_sim.workload.prompts import Hashes, infinite_cache
from bros_sim.workload.traces import Trace

Number = float | int | None
FANO_WINDOWS_S = (1, 10, 60)


def fano(times: NDArray[np.float64], window_s: float) -> float | None:
    """Variance over mean of the counts in whole windows from 0; ``None`` below two windows."""
    windows = int(times[-1] // window_s) if len(times) else 0
    if windows < 2:
        return None
    inside = times[times < windows * window_s]
    counts = np.bincount((inside // window_s).astype(np.int64), minlength=windows)[:windows]
    return float(counts.var(ddof=1) / counts.mean()) if len(inside) else None


def interarrival_cv(times: NDArray[np.float64]) -> float | None:
    """Coefficient of variation of the gaps; ``None`` for fewer than three arrivals."""
    gaps = np.diff(times)
    return float(gaps.std() / gaps.mean()) if len(gaps) > 1 and gaps.mean() > 0 else None


def arrival_summary(times: NDArray[np.float64]) -> dict[str, Number]:
    """Rate, regularity and burstiness. The rate is over the time from first to last arrival."""
    span = float(times[-1] - times[0])
    rate = (len(times) - 1) / span if span else None
    fanos = {f"fano_{w}_s": fano(times - times[0], w) for w in FANO_WINDOWS_S}
    return {
        "duration_s": span, "rate_rps": rate, "interarrival_cv": interarrival_cv(times), **fanos
    }  # fmt: skip


def length_summary(lengths: NDArray[np.int64]) -> dict[str, Number]:
    """Mean, quantiles and maximum of one kind of length, in tokens."""
    p50, p90, p99 = np.quantile(lengths, (0.5, 0.9, 0.99)).tolist()
    top = int(lengths.max())
    return {"mean": float(lengths.mean()), "p50": p50, "p90": p90, "p99": p99, "max": top}


def prefix_summary(hashes: Hashes, block_tokens: int) -> dict[str, Number]:
    """Reuse with an infinite cache: the share of blocks that an earlier request had."""
    hits, _ = infinite_cache(hashes)
    blocks = sum(len(row) for row in hashes)
    reused, some = float(hits.sum() / blocks) if blocks else None, float((hits > 0).mean())
    return {
        "block_tokens": block_tokens, "reused_blocks_share": reused,
        "requests_with_reuse_share": some,
    }  # fmt: skip


def trace_summary(trace: Trace) -> dict[str, dict[str, Number]]:
    """Everything that ``bros-sim trace stats`` shows: sections of numbers."""
    out: dict[str, dict[str, Number]] = {"rows": dict(asdict(trace.counts))}
    if trace.arrival_s is not None:
        out["arrivals"] = arrival_summary(trace.arrival_s)
    if trace.has_lengths:
        out["prompt_tokens"] = length_summary(trace.prompt_tokens)
        out["output_tokens"] = length_summary(trace.output_tokens)
    if trace.prefix_hashes is not None:
        out["prefixes"] = prefix_summary(trace.prefix_hashes, trace.hash_block_tokens)
    return out
