"""Terms that the latency models share. Coefficients are in milliseconds, results in seconds."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from bros_sim.engine.latency_model import StepShape

if TYPE_CHECKING:
    from bros_sim.latency.term_parameters import Validity
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bros_sim.latency.term_parameters import DecodeGrid, PrefillGrid

MS: Final = 1e-3  # seconds in a millisecond

Chunks = tuple[tuple[int, int], ...]


class FittedModel:
    """Base of the shipped models: knows the range that it was fitted on."""

    reads_longest_kv = False

    def __init__(self, validity: "Validity") -> None:
        self._max_tokens = validity.max_tokens or math.inf
        self._max_decode_jobs = validity.max_decode_jobs or math.inf
        self._max_kv_tokens = validity.max_kv_tokens or math.inf
        self._max_kv_tokens_per_job = validity.max_kv_tokens_per_job or math.inf
        self._max_chunk_tokens = validity.max_chunk_tokens or math.inf
        self._max_context_tokens = validity.max_context_tokens or math.inf

    def extrapolates(self, shape: StepShape) -> bool:
        chunks, seqs, kv, _ = shape
        tokens = seqs
        for chunk, context in chunks:
            tokens += chunk
            if chunk > self._max_chunk_tokens or context > self._max_context_tokens:
                return True
        return (
            tokens > self._max_tokens
            or seqs > self._max_decode_jobs
            or kv > self._max_kv_tokens
            or (seqs > 0 and kv / seqs > self._max_kv_tokens_per_job)
        )


class LineModel(FittedModel):
    """Base of the models whose decode-only iterations are a line in summed KV."""

    def __init__(self, validity: "Validity") -> None:
        super().__init__(validity)
        self._lines: dict[int, tuple[float, float]] = {}

    def step_s(self, shape: StepShape) -> float:
        if shape.chunks:
            return self._chunks_s(shape.chunks, shape.decode_jobs, shape.kv_tokens)
        base, slope = self._line(shape.decode_jobs)
        return base + slope * shape.kv_tokens

    def decode_s(self, shape: StepShape, repeat: int) -> NDArray[np.float64]:
        # The same two roundings as in step_s: token counts are exact integers below 2**53.
        base, slope = self._line(shape.decode_jobs)
        return base + slope * kv_series(shape.decode_jobs, shape.kv_tokens, repeat)

    def _line(self, seqs: int) -> tuple[float, float]:
        """Intercept and slope over summed KV, in seconds; remembered, there are few batch sizes."""
        found = self._lines.get(seqs)
        if found is None:
            found = self._lines[seqs] = self._fitted_line(seqs)
        return found

    def _fitted_line(self, seqs: int) -> tuple[float, float]:
        raise NotImplementedError

    def _chunks_s(self, chunks: Chunks, seqs: int, kv: int) -> float:
        """Seconds of an iteration with prefill chunks."""
        raise NotImplementedError


class Lines:
    """A curve of straight lines: one up to each knot, and one beyond the last."""

    def __init__(self, knots: Sequence[int], lines: Sequence[tuple[float, float]]) -> None:
        self._knots = knots
        self._lines = lines

    def at(self, tokens: int) -> float:
        """The curve at a number of tokens."""
        base, slope = self._lines[bisect_right(self._knots, tokens)]
        return base + slope * tokens

    def series(self, tokens: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same product and sum as in ``at``, element by element."""
        base, slope = np.array(self._lines)[np.searchsorted(self._knots, tokens, side="right")].T
        return np.asarray(base + slope * tokens)


def segments(x: Sequence[float], y: Sequence[float]) -> list[tuple[float, float]]:
    """``(intercept, slope)`` of the straight line between each two neighbouring points."""
    lines = []
    for (x0, y0), (x1, y1) in pairwise(zip(x, y, strict=True)):
        slope = (y1 - y0) / (x1 - x0)
        lines.append((y0 - slope * x0, slope))
    return lines


def chunk_sums(chunks: Chunks) -> tuple[int, int, int]:
    """Sums over chunks of ``c`` tokens after ``x`` cached ones: c, x, and ``c * (2 * x + c)``."""
    tokens = context = work2 = 0
    for chunk, cached in chunks:
        tokens += chunk
        context += cached
        work2 += chunk * (2 * cached + chunk)
    return tokens, context, work2


def kv_series(decode_jobs: int, kv_tokens: int, repeat: int) -> NDArray[np.float64]:
    """Summed KV of ``repeat`` consecutive decode iterations of a fixed batch; exact integers."""
    return kv_tokens + decode_jobs * np.arange(repeat, dtype=np.float64)


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
