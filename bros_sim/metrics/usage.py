"""What the steps table says about the engines: KV usage by class, iterations extrapolated."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from bros_sim.metrics.requests import floats
from bros_sim.metrics.tables import RunTables
from bros_sim.metrics.tokens import Floats, Ints

CLASSES = ("rt", "be", "all")
CHUNK = 1 << 16
"""Iterations at once, so that millions need little memory."""


def extrapolated_share(steps: pd.DataFrame) -> float:
    """Iterations outside the latency model's validity range / iterations; NaN without any."""
    repeats = floats(steps, "repeat").sum()
    return float(floats(steps, "extrapolated").sum() / repeats) if repeats else np.nan


def kv_slots(tables: RunTables) -> Ints:
    """Per engine: tokens that its KV blocks hold."""
    slots: Ints = (tables.engines["kv_blocks"] * tables.engines["block_size"]).to_numpy(np.int64)
    return slots


def kv_usage(tables: RunTables, warmup_s: float) -> dict[str, tuple[float, float]]:
    """Mean over the busy time and peak of KV tokens / KV slots of an engine, by class; or NaN.

    A prefix that several requests share counts once: tokens are capped by the slots of the blocks
    in use and split between the classes in proportion.
    """
    busy, area, peak = 0.0, np.zeros(len(CLASSES)), np.full(len(CLASSES), -np.inf)
    slots = kv_slots(tables)
    for engine, end_s in enumerate(tables.iteration_end_s):
        steps = tables.steps[tables.steps["replica"] == engine]
        block, scale = int(tables.engines["block_size"].iloc[engine]), slots[engine] / slots[0]
        for start_s, busy_s, kv in _iterations(steps, end_s, int(slots[engine]), block):
            kept = slice(int(np.searchsorted(start_s, warmup_s)), None)
            busy += float(busy_s[kept].sum())
            area += (kv[:, kept] * busy_s[kept]).sum(axis=1) / scale
            peak = np.maximum(peak, kv[:, kept].max(axis=1, initial=-np.inf) / scale)
    if busy <= 0:
        return dict.fromkeys(CLASSES, (np.nan, np.nan))
    usage = zip(area / busy / slots[0], peak / slots[0], strict=True)
    return {name: (float(a), float(b)) for name, (a, b) in zip(CLASSES, usage, strict=True)}


def _iterations(
    steps: pd.DataFrame, end_s: Floats, slots: int, block_size: int
) -> Iterator[tuple[Floats, Floats, Floats]]:
    """Start, duration and KV tokens (a row for each class) of an engine's iterations, in chunks."""
    names = ["start_s", "kv_tokens", "kv_tokens_rt", "decode_jobs", "decode_jobs_rt", "free_blocks"]
    start_s, kv, kv_rt, decode, decode_rt, free = (floats(steps, name) for name in names)
    in_use, repeat = slots - free * block_size, steps["repeat"].to_numpy(np.int64)
    begins = np.cumsum(repeat) - repeat
    for a in range(0, end_s.size, CHUNK):
        b = min(a + CHUNK, end_s.size)
        row = np.searchsorted(begins, np.arange(a, b), side="right") - 1
        nth = np.arange(a, b) - begins[row]
        start = np.where(nth == 0, start_s[row], end_s[np.arange(a, b) - 1])
        attended = kv[row] + nth * decode[row]
        rt = kv_rt[row] + nth * decode_rt[row]
        held = np.minimum(in_use[row] + nth * decode[row], slots)
        real = np.minimum(1.0, held / np.maximum(attended, 1.0))
        yield start, end_s[a:b] - start, real * np.stack((rt, attended - rt, attended))
