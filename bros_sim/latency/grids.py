"""Measured grids of attention times, interpolated: decode against batch and KV, prefill chunks."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from bros_sim.latency.terms import MS, NonNegative, require_grid, segments

Rows = tuple[tuple[NonNegative, ...], ...]


@dataclass(frozen=True)
class DecodeGrid:
    """What decode adds: one row of ``ms`` per batch size, one column per KV length of a seq.

    Between two rows linear in the batch size at equal KV per seq, in a row linear in KV. Below the
    grid the first cell holds; beyond the last batch size the last row grows in proportion, beyond
    the last KV length the last line goes on.
    """

    batch: tuple[Annotated[int, Ge(1)], ...]
    kv_per_job: tuple[Annotated[int, Ge(1)], ...]
    ms: Rows

    def __post_init__(self) -> None:
        _require_rows("batch", self.batch, "kv_per_job", self.kv_per_job, self.ms)

    def row(self, seqs: int) -> NDArray[np.float64]:
        """Milliseconds of ``seqs`` decode requests at each KV length of the grid."""
        return _row(seqs, self.batch, self.ms) * max(1.0, seqs / self.batch[-1])

    def lines(self, seqs: int, constant_ms: float = 0.0) -> "DecodeLines":
        """Seconds of ``seqs`` decode requests against their summed KV, ``constant_ms`` included."""
        knots = tuple(seqs * length for length in self.kv_per_job)
        values = [MS * (constant_ms + float(ms)) for ms in self.row(seqs)]
        inner = segments(knots, values)
        first, last = (values[0], 0.0), inner[-1] if inner else (values[0], 0.0)
        base, slope = zip(first, *inner, last, strict=True)
        return DecodeLines(knots, base, slope)


@dataclass(frozen=True)
class PrefillGrid:
    """What the attention of one chunk adds: a row per chunk length, a column per prior context.

    Interpolated and continued as ``DecodeGrid`` is.
    """

    chunk: tuple[Annotated[int, Ge(1)], ...]
    context: tuple[Annotated[int, Ge(0)], ...]
    ms: Rows

    def __post_init__(self) -> None:
        _require_rows("chunk", self.chunk, "context", self.context, self.ms)

    def at(self, chunk: int, context: int) -> float:
        """Milliseconds of one chunk."""
        column = min(max(bisect_right(self.context, context), 1), len(self.context) - 1)
        row = min(max(bisect_right(self.chunk, chunk), 1), len(self.chunk) - 1)
        context = max(context, self.context[0])
        low, high = (_on_line(context, column, self.context, self.ms[r]) for r in (row - 1, row))
        if chunk >= self.chunk[-1]:
            return high * chunk / self.chunk[-1]
        reach = max(0.0, (chunk - self.chunk[row - 1]) / (self.chunk[row] - self.chunk[row - 1]))
        return low + (high - low) * reach


@dataclass(frozen=True, slots=True)
class DecodeLines:
    """Duration in seconds against summed KV at one batch size: a line on each side of a knot."""

    knots: tuple[int, ...]
    base: tuple[float, ...]
    slope: tuple[float, ...]

    def at(self, kv: int) -> float:
        """Seconds of a batch that attends to ``kv`` tokens."""
        n = bisect_right(self.knots, kv)
        return self.base[n] + self.slope[n] * kv

    def series(self, kv: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same product and sum as in ``at``, element by element."""
        n = np.searchsorted(self.knots, kv, side="right")
        times: NDArray[np.float64] = np.take(self.base, n) + np.take(self.slope, n) * kv
        return times


def _row(value: int, grid: Sequence[int], rows: Rows) -> NDArray[np.float64]:
    """The row of ``value``, linear between the rows of the grid and constant outside."""
    columns = np.asarray(rows).T
    return np.array([np.interp(value, grid, column) for column in columns])


def _on_line(x: float, column: int, grid: Sequence[int], values: Sequence[float]) -> float:
    """``values`` at ``x`` on the line from ``column - 1`` to ``column``."""
    slope = (values[column] - values[column - 1]) / (grid[column] - grid[column - 1])
    return values[column - 1] + slope * (x - grid[column - 1])


def _require_rows(
    row_name: str, rows: Sequence[int], column_name: str, columns: Sequence[int], ms: Rows
) -> None:
    require_grid(row_name, rows)
    require_grid(column_name, columns)
    if len(rows) < 2 or len(columns) < 2:
        raise ValueError(f"a grid needs at least two values of {row_name} and of {column_name}")
    if len(ms) != len(rows) or any(len(row) != len(columns) for row in ms):
        raise ValueError(f"ms needs {len(rows)} rows ({row_name}) of {len(columns)} numbers each")
