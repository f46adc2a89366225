"""Result folders -> the tables of docs/related.md."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.related.stated import (
    REFRAG_AT,
    REFRAG_THROUGHPUT,
    REFRAG_TTFT,
    RELAY_OUTPUT_TOKENS,
    RELAY_REQUESTS_S,
)
from bros_sim.study.results import ResultSet
from bros_sim.study.store import open_results

SYSTEM_PROMPT = "workload.chat.system_prompt_tokens"
PROMPT, COMPRESSION = "workload.rag.lengths.prompt", "workload.rag.refrag.compression"
SCALE = "workload.chat.arrivals.scale"
BURST_S = (60.0, 130.0)
"""The burst of experiments/kunserve_like.yaml and what it leaves behind."""


def opened(folder: Path) -> ResultSet:
    """The results of a finished run.

    Raises:
        InputError: It is not the folder of a finished run.
        SystemExit: Points of it failed.
    """
    results = open_results(folder)[0]
    errors = results.table()["error"]
    if (errors != "").any():
        raise SystemExit(f"{folder}: points failed: {errors.max()}")
    return results


def means(results: ResultSet, metric: str, rows: str, columns: str = "system") -> pd.DataFrame:
    """A metric of all requests (each experiment has one class), the mean over seeds."""
    table = results.table()
    table = table[(table["class"] != "all") & (table["arrived"] > 0)].astype({metric: float})
    return table.pivot_table(index=rows, columns=columns, values=metric)


def relay(results: ResultSet) -> str:
    """Requests/s and their ratios, the authors' in brackets."""
    rates = means(results, "request_throughput", SYSTEM_PROMPT)
    lines = []
    for tokens, ours in rates.iterrows():
        plain, cached, relayed = (
            ours[name] for name in ("No prefix caching", "Prefix caching", "RelayAttention")
        )
        one, other, best = RELAY_REQUESTS_S[int(str(tokens))]
        cells = [f"{tokens:,}"]
        cells += [f"{a:.2f} ({b:.2f})" for a, b in ((plain, one), (cached, other), (relayed, best))]
        cells += [f"**{relayed / cached:.2f}** ({best / other:.2f})"]
        cells += [f"{relayed / plain:.2f} ({best / one:.2f})"]
        lines.append(cells)
    head = ["tokens", "no prefix caching", "prefix caching", "RelayAttention"]
    return markdown([*head, "over prefix caching", "over none"], lines)


def reading(results: ResultSet) -> dict[str, str]:
    """Time of an output token, theirs and ours: for each token of a shared prompt, and the rest."""
    rates = means(results, "request_throughput", SYSTEM_PROMPT)
    cached = rates["Prefix caching"]
    tokens = means(results, "output_throughput", SYSTEM_PROMPT) / rates
    output = float(tokens["Prefix caching"].mean())
    least, most = int(cached.index[0]), int(cached.index[-1])
    theirs = {size: RELAY_REQUESTS_S[size] for size in (least, most)}
    times = {
        "ours": (1 / cached[least], 1 / cached[most], 1 / rates["RelayAttention"][least], output),
        "theirs": (
            1 / theirs[least][1],
            1 / theirs[most][1],
            1 / theirs[least][2],
            RELAY_OUTPUT_TOKENS,
        ),
    }
    told = {"output": f"{output:.0f}", "their_output": f"{RELAY_OUTPUT_TOKENS}"}
    for who, (short, long, best, answer_tokens) in times.items():
        told[f"{who}_read"] = f"{1e6 * (long - short) / (most - least) / answer_tokens:.2f}"
        told[f"{who}_rest"] = f"{1e3 * best / answer_tokens:.2f}"
    return told


def refrag(results: ResultSet) -> str:
    """How many times as fast as without compression: TTFT, further tokens, throughput."""
    ttft = means(results, "mean_ttft_ms", PROMPT, COMPRESSION)
    tpot = means(results, "mean_tpot_ms", PROMPT, COMPRESSION)
    rate = means(results, "output_throughput", PROMPT, COMPRESSION)
    lines = []
    for prompt in ttft.index:
        for k in ttft.columns[1:]:
            claim = f" ({REFRAG_TTFT[k]})" if prompt == REFRAG_AT and k in REFRAG_TTFT else ""
            speedups = [table.loc[prompt, 1] / table.loc[prompt, k] for table in (ttft, tpot)]
            cells = [f"{prompt:,}", f"{k}", f"{ttft.loc[prompt, 1]:,.0f}"]
            cells += [f"{ttft.loc[prompt, k]:,.0f}", f"**{speedups[0]:.2f}**{claim}"]
            cells += [f"{speedups[1]:.2f}", f"{rate.loc[prompt, k] / rate.loc[prompt, 1]:.2f}"]
            lines.append(cells)
    head = ["prompt", "compression", "TTFT ms without", "with"]
    return markdown([*head, "TTFT speed-up", "TPOT speed-up", "throughput"], lines)


def answer(results: ResultSet) -> float:
    """Output tokens at which REFRAG with compression 16 has the claimed gain in throughput."""
    ttft = means(results, "mean_ttft_ms", PROMPT, COMPRESSION).loc[REFRAG_AT]
    tpot = means(results, "mean_tpot_ms", PROMPT, COMPRESSION).loc[REFRAG_AT]
    saved = ttft[1] - REFRAG_THROUGHPUT * ttft[16]
    return 1.0 + saved / (REFRAG_THROUGHPUT * tpot[16] - tpot[1])


def kunserve(results: ResultSet) -> str:
    """Tail TTFT and TPOT by height of the burst; what drops how often is in steps.parquet."""
    tail = means(results, "p99_ttft_ms", SCALE) / 1000
    tpot = means(results, "mean_tpot_ms", SCALE)
    met = means(results, "slo_attainment", SCALE) * 100
    order = list(dict.fromkeys(results.table()["system"]))
    lines = []
    for scale in tail.index:
        for system in order:
            gain = tail.loc[scale, "vLLM"] / tail.loc[scale, system]
            cells = [f"{scale:g}", system, f"{tail.loc[scale, system]:.2f}", f"**{gain:.1f}**"]
            cells += [f"{tpot.loc[scale, system]:.1f}", f"{met.loc[scale, system]:.1f}"]
            lines.append(cells)
    head = ["burst", "system", "p99 TTFT s", "vLLM's / its", "mean TPOT ms", "SLO met %"]
    return markdown(head, lines)


def lockstep(results: ResultSet) -> tuple[float, float]:
    """Least and most that waiting for each other after every iteration costs two vLLM replicas."""
    costs = []
    for point in results.points:
        if point.labels["system"] == "vLLM":
            one, other = (_durations(point.steps(), replica) for replica in (0, 1))
            size = min(len(one), len(other))
            slower = np.maximum(one[:size], other[:size]).sum()
            costs.append(2 * slower / (one[:size].sum() + other[:size].sum()))
    return min(costs), max(costs)


def _durations(iterations: pd.DataFrame, replica: int) -> np.ndarray:
    """Durations of a replica's iterations in the burst; those of one row are taken as equal."""
    start, end = BURST_S
    mine = iterations[
        (iterations["replica"] == replica) & iterations["start_s"].between(start, end)
    ]
    each = (mine["end_s"] - mine["start_s"]) / mine["repeat"]
    return np.repeat(each.to_numpy(), mine["repeat"].to_numpy())


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
