"""Model ``table``: measured grids, interpolated; nothing is fitted."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
from annotated_doc import Doc
from annotated_types import Ge
from numpy.typing import NDArray

from bros_sim.latency.base import StepShape
from bros_sim.latency.terms import (
    EVERYWHERE,
    FREE,
    MS,
    FromProfile,
    NonNegative,
    PerSequence,
    TokenCurve,
    Validity,
    kv_series,
    require_grid,
    segments,
)

Rows = tuple[tuple[NonNegative, ...], ...]


@dataclass(frozen=True)
class DecodeGrid:
    """What decode adds: one row of ``ms`` per batch size, one column per KV length of a job.

    Between two rows linear in the batch size at equal KV per job, in a row linear in KV. Below the
    grid the first cell holds; beyond the last batch size the last row grows in proportion, beyond
    the last KV length the last line goes on.
    """

    batch: tuple[Annotated[int, Ge(1)], ...]
    kv_per_job: tuple[Annotated[int, Ge(1)], ...]
    ms: Rows

    def __post_init__(self) -> None:
        _require_rows("batch", self.batch, "kv_per_job", self.kv_per_job, self.ms)

    def row(self, jobs: int) -> NDArray[np.float64]:
        """Milliseconds of ``jobs`` decode jobs at each KV length of the grid."""
        return _row(jobs, self.batch, self.ms) * max(1.0, jobs / self.batch[-1])


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


@dataclass(frozen=True)
class Table(FromProfile):
    """Sum of measured parts, which is also how layer-wise profilers cut an iteration.

    ``tokens(n) + sequences(B + C) + overhead(B) + [B > 0] decode(B, KV) + sum(prefill(c, x))``.
    A grid of whole iterations fits in: put its shortest decode and its prefill without context
    into ``tokens``, and the differences to them into ``decode`` and ``prefill``.
    """

    kind: ClassVar[str] = "table"

    tokens: Annotated[TokenCurve, Doc("dense layers against tokens")]
    decode: DecodeGrid
    prefill: PrefillGrid
    sequences: Annotated[PerSequence, Doc("LM head and sampler, per scheduled sequence")] = FREE
    overhead: Annotated[PerSequence, Doc("engine time outside the kernels, per decode job")] = FREE
    validity: Validity = EVERYWHERE
    _decode: dict[int, "_DecodeLines"] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_decode", {})

    def step_s(self, shape: StepShape) -> float:
        """Duration of the iteration in seconds."""
        chunks, jobs, kv = shape
        if not chunks:
            lines = self._decode.get(jobs) or self._decode_lines(jobs)
            n = bisect_right(lines.knots, kv)
            return lines.base[n] + lines.slope[n] * kv
        added = sum(self.prefill.at(chunk, context) for chunk, context in chunks)
        tokens = sum(chunk for chunk, _ in chunks)
        if not jobs:
            constant = self._constant_ms(len(chunks), 0)
            return MS * (self.tokens.at(tokens) + constant + added)
        added += self.tokens.at(tokens + jobs) - self.tokens.at(jobs)
        added += self.sequences.per_seq_ms * len(chunks)
        return self.step_s(StepShape((), jobs, kv)) + MS * added

    def decode_s(self, decode_jobs: int, kv_tokens: int, repeat: int) -> NDArray[np.float64]:
        """Durations of ``repeat`` consecutive decode-only iterations, as the contract says."""
        lines = self._decode.get(decode_jobs) or self._decode_lines(decode_jobs)
        kv = kv_series(decode_jobs, kv_tokens, repeat)
        n = np.searchsorted(lines.knots, kv, side="right")
        # The same product and sum as in step_s, element by element.
        times: NDArray[np.float64] = np.take(lines.base, n) + np.take(lines.slope, n) * kv
        return times

    def extrapolates(self, shape: StepShape) -> bool:
        """Whether the shape lies outside the range the model was measured on."""
        return not self.validity.covers(shape)

    def _constant_ms(self, sequences: int, jobs: int) -> float:
        time = self.sequences.const_ms + self.sequences.per_seq_ms * sequences
        return time + self.overhead.const_ms + self.overhead.per_seq_ms * jobs

    def _decode_lines(self, jobs: int) -> "_DecodeLines":
        constant = self.tokens.at(jobs) + self._constant_ms(jobs, jobs)
        knots = tuple(jobs * length for length in self.decode.kv_per_job)
        values = [MS * (constant + float(ms)) for ms in self.decode.row(jobs)]
        inner = segments(knots, values)
        first, last = (values[0], 0.0), inner[-1] if inner else (values[0], 0.0)
        base, slope = zip(first, *inner, last, strict=True)
        lines = _DecodeLines(knots, base, slope)
        self._decode[jobs] = lines
        return lines


@dataclass(frozen=True, slots=True)
class _DecodeLines:
    """Duration in seconds against summed KV at one batch size: a line on each side of a knot."""

    knots: tuple[int, ...]
    base: tuple[float, ...]
    slope: tuple[float, ...]


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
