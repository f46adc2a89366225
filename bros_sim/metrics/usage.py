"""What the steps table says about the replicas: KV usage by class, iterations extrapolated."""

import numpy as np
import pandas as pd

from bros_sim.log import RunTables
from bros_sim.metrics.requests import floats
from bros_sim.metrics.tokens import Floats

NO_USAGE = dict.fromkeys(("rt", "be", "all"), (np.nan, np.nan))


def extrapolated_share(steps: pd.DataFrame) -> float:
    """Iterations outside the latency model's validity range / iterations; NaN without any."""
    repeats = floats(steps, "repeat").sum()
    return float(floats(steps, "extrapolated").sum() / repeats) if repeats else np.nan


def kv_usage(tables: RunTables, warmup_s: float) -> dict[str, tuple[float, float]]:
    """Mean over the busy time and peak of KV tokens / KV slots of a replica, by class.

    Counts every iteration of a stretch with the tokens it has by then, so the length of stretches
    changes nothing. A prefix that several requests share counts once: tokens are capped by the
    slots of the blocks in use and split between the classes in proportion.
    """
    parts = [
        _iterations(tables.steps[tables.steps["replica"] == replica], end_s, tables)
        for replica, end_s in enumerate(tables.iteration_end_s)
        if end_s.size
    ]
    if not parts:
        return NO_USAGE
    start, busy, total, rt = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    keep = start >= warmup_s
    slots = tables.usable_blocks * tables.block_size
    by_class = {"rt": rt, "be": total - rt, "all": total}
    return {name: _mean_and_peak(kv[keep] / slots, busy[keep]) for name, kv in by_class.items()}


def _iterations(
    steps: pd.DataFrame, end_s: Floats, tables: RunTables
) -> tuple[Floats, Floats, Floats, Floats]:
    """Start, duration, KV tokens and those of RT of every iteration of one replica."""
    repeat = steps["repeat"].to_numpy(np.int64)
    row = np.repeat(np.arange(repeat.size), repeat)
    nth = np.arange(row.size) - (np.cumsum(repeat) - repeat)[row]
    start = np.where(nth == 0, floats(steps, "start_s")[row], np.roll(end_s, 1))
    kv = floats(steps, "kv_tokens")
    in_use = (tables.usable_blocks - floats(steps, "free_blocks")) * tables.block_size
    real = np.minimum(1.0, in_use / np.maximum(kv, 1.0))
    total = (kv * real)[row] + nth * floats(steps, "decode_jobs")[row]
    # within a stretch every running request decodes
    rt = (floats(steps, "kv_tokens_rt") * real)[row] + nth * floats(steps, "running_rt")[row]
    return start, end_s - start, total, rt


def _mean_and_peak(usage: Floats, busy_s: Floats) -> tuple[float, float]:
    if not usage.size:
        return np.nan, np.nan
    return float((usage * busy_s).sum() / busy_s.sum()), float(usage.max())
