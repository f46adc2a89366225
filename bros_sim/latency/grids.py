"""Measured grids of attention times, interpolated: decode against batch and KV, prefill chunks."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bros_sim.latency.terms import MS, Lines, segments

if TYPE_CHECKING:
    from bros_sim.latency.term_parameters import DecodeGrid, PrefillGrid


def decode_lines(grid: "DecodeGrid", seqs: int, constant_ms: float = 0.0) -> Lines:
    """Seconds of ``seqs`` decode requests against their summed KV, ``constant_ms`` included."""
    knots = [seqs * length for length in grid.kv_per_job]
    beyond = max(1.0, seqs / grid.batch[-1])
    row = [float(np.interp(seqs, grid.batch, column)) for column in zip(*grid.ms, strict=True)]
    values = [MS * (constant_ms + ms * beyond) for ms in row]
    inner = segments(knots, values)
    return Lines(knots, [(values[0], 0.0), *inner, inner[-1]])


def chunk_ms(grid: "PrefillGrid", chunk: int, context: int) -> float:
    """Milliseconds of one chunk after ``context`` tokens."""
    column = min(max(bisect_right(grid.context, context), 1), len(grid.context) - 1)
    row = min(max(bisect_right(grid.chunk, chunk), 1), len(grid.chunk) - 1)
    context = max(context, grid.context[0])
    low, high = (_on_line(context, column, grid.context, grid.ms[r]) for r in (row - 1, row))
    if chunk >= grid.chunk[-1]:
        return high * chunk / grid.chunk[-1]
    reach = max(0.0, (chunk - grid.chunk[row - 1]) / (grid.chunk[row] - grid.chunk[row - 1]))
    return low + (high - low) * reach


def _on_line(x: float, column: int, grid: Sequence[int], values: Sequence[float]) -> float:
    """``values`` at ``x`` on the line from ``column - 1`` to ``column``."""
    slope = (values[column] - values[column - 1]) / (grid[column] - grid[column - 1])
    return values[column - 1] + slope * (x - grid[column - 1])
