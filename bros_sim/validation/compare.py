"""Real against simulated: metrics, throughput over time, and errors of single requests."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bros_sim.core.errors import InputError

Floats = NDArray[np.float64]

METRICS = ("ttft", "tpot", "e2e")
STATISTICS = {"mean": None, "median": 50, "p90": 90, "p95": 95, "p99": 99}
BIN_S = 5.0


@dataclass(frozen=True)
class Comparison:
    """Real and simulated requests (rows in the same order) and how they differ.

    ``ttft`` and ``e2e`` are the times from when the engine took a request in to its first and last
    token, ``tpot`` the time between these per further token, as the reference simulator of the
    shipped run reports them. Where the run has no ``queued_s``, they start at ``arrival_s``.
    """

    requests: pd.DataFrame
    """``arrival_s``, ``output_tokens``, and for each metric ``real_<m>_ms``, ``sim_<m>_ms``."""
    metrics: Mapping[str, Mapping[str, Mapping[str, float]]]
    throughput: pd.DataFrame  # per ``BIN_S``: ``time_s``, ``real``, ``simulated`` tokens/s
    request_error_pct: Mapping[str, float]  # mean size over single requests, by metric
    real_s: float
    simulated_s: float
    preemptions: int


def compare(real: pd.DataFrame, simulated: pd.DataFrame) -> Comparison:
    """Compare request by request; `InputError` if one never finished in the simulation."""
    lost = simulated["last_token_s"].isna()
    if lost.any():
        reasons = simulated.loc[lost, "refusal"].replace("", "the KV cache is too small")
        counts = ", ".join(f"{n} {reason}" for reason, n in reasons.value_counts().items())
        raise InputError(f"{lost.sum()} of {len(real)} requests never finish: {counts}")
    start = "queued_s" if "queued_s" in real else "arrival_s"
    times = {
        "real": _latencies(real, real[start], real["output_tokens"]),
        "sim": _latencies(simulated, simulated[start], real["output_tokens"]),
    }
    columns = {f"{side}_{m}_ms": times[side][m] for side in times for m in METRICS}
    frame = real[["arrival_s", "prompt_tokens", "output_tokens"]].assign(**columns)
    return Comparison(
        requests=frame,
        metrics={name: _statistics(times["real"][name], times["sim"][name]) for name in METRICS},
        throughput=_throughput(real, simulated),
        request_error_pct={
            name: float(100 * np.nanmean(np.abs(times["sim"][name] / times["real"][name] - 1)))
            for name in METRICS
        },
        real_s=float(real["last_token_s"].max()),
        simulated_s=float(simulated["last_token_s"].max()),
        preemptions=int(simulated["num_preemptions"].sum()),
    )


def _latencies(
    table: pd.DataFrame, start_s: "pd.Series[float]", tokens: "pd.Series[int]"
) -> dict[str, Floats]:
    """Milliseconds; a TPOT needs a second token."""
    first, last = table["first_token_s"].to_numpy(float), table["last_token_s"].to_numpy(float)
    gaps = np.where(tokens > 1, tokens - 1, np.nan)
    start = start_s.to_numpy(float)
    times = (1e3 * (first - start), 1e3 * (last - first) / gaps, 1e3 * (last - start))
    return dict(zip(METRICS, times, strict=True))


def _statistics(real: Floats, simulated: Floats) -> dict[str, dict[str, float]]:
    found = {}
    for name, percentile in STATISTICS.items():
        a, b = (_statistic(values, percentile) for values in (real, simulated))
        found[name] = {"real": a, "simulated": b, "error_pct": 100 * (b / a - 1)}
    return found


def _statistic(values: Floats, percentile: int | None) -> float:
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan")
    return float(values.mean() if percentile is None else np.percentile(values, percentile))


def _throughput(real: pd.DataFrame, simulated: pd.DataFrame) -> pd.DataFrame:
    """Output tokens per second; a request's tokens are spread evenly from its first to its last."""
    end = max(real["last_token_s"].max(), simulated["last_token_s"].max())
    edges = np.arange(0.0, end + BIN_S, BIN_S)
    tokens = real["output_tokens"].to_numpy(float)
    rates = {"real": _rate(real, tokens, edges), "simulated": _rate(simulated, tokens, edges)}
    return pd.DataFrame({"time_s": edges[:-1], **rates})


def _rate(table: pd.DataFrame, tokens: Floats, edges: Floats) -> Floats:
    first, last = table["first_token_s"].to_numpy(float), table["last_token_s"].to_numpy(float)
    total = np.zeros(len(edges))
    for a, b, n in zip(first, last, tokens, strict=True):
        rest = (n - 1) * np.interp(edges, [a, max(b, a + 1e-9)], [0, 1])
        total += np.where(edges >= a, 1.0, 0.0) + rest
    return np.asarray(np.diff(total) / np.diff(edges))
