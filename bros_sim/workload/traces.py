"""Reads a trace file into a `Trace` under one policy; whatever is changed or left out is counted.

The policy, in this order:

1. Rows are sorted by arrival, stably: rows with one time keep the order of the file.
2. Calendar clocks start at their earliest request; all other clocks are kept as they are.
3. Rows outside ``[start_s, end_s)`` are left out; the clock is moved so that ``start_s`` is 0.
4. ``dequantise="uniform"`` spreads each row over the tick of its time stamp (see `dequantised`).
5. A length of zero is raised to one token (``zero_tokens="one"``), or the row is left out
   (``"drop"``); a length over a cap is cut to it.

The format is recognised by header or keys, never by the file's name.
"""

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bros_sim.core.clock import HORIZON_S
from bros_sim.core.errors import InputError
from bros_sim.core.request import ServiceClass
from bros_sim.workload.policy import (
    Dequantise,
    ZeroTokens,
    clipped,
    counted_zeros,
    cut_hashes,
    dequantised,
    sorted_rows,
    take,
    windowed,
)
from bros_sim.workload.readers import TRACES
from bros_sim.workload.readers.base import Reader, Rows, Window
from bros_sim.workload.readers.source import Source


@dataclass(frozen=True)
class ReadCounts:
    """What reading did to the rows of a file."""

    rows_read: int = 0
    rows_kept: int = 0
    out_of_order: int = 0
    """Rows that stood before an earlier one; they were sorted."""
    ties: int = 0
    """Rows with the arrival time of the row before them, as read."""
    outside_window: int = 0
    zero_prompt: int = 0
    zero_output: int = 0
    dropped: int = 0
    """Rows left out because a length is zero (only with ``zero_tokens="drop"``)."""
    filtered: int = 0
    """Rows left out by `within`."""
    clipped_prompt: int = 0
    clipped_output: int = 0
    missing_output: int = 0
    """Rows of a source that states no output lengths; also in ``zero_output``."""
    chained: int = 0
    """Sub-requests of agentic sessions, placed at the earliest time they could be sent."""
    synthesised: int = 0
    """Rows drawn from published statistics instead of read."""
    long_hash_lists: int = 0
    """Rows with more hashes than their prompt has blocks; the rest was cut."""


@dataclass(frozen=True, eq=False)
class Trace:
    """Requests as columns, sorted by arrival.

    ``arrival_s`` is ``None`` for length-only sets. Arrival-only sets (ServeGen windows without
    their dataset) have empty length columns: ask ``has_lengths``. In optional columns NaN (SLOs),
    0 (``max_tokens``) and ``None`` (class) mean that the row states nothing.
    """

    format: str
    source: str
    arrival_s: NDArray[np.float64] | None
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    counts: ReadCounts
    service_class: tuple[ServiceClass | None, ...] | None = None
    ttft_slo_s: NDArray[np.float64] | None = None
    tpot_slo_s: NDArray[np.float64] | None = None
    e2e_slo_s: NDArray[np.float64] | None = None
    max_tokens: NDArray[np.int64] | None = None
    prefix_hashes: tuple[tuple[int, ...], ...] | None = None
    hash_block_tokens: int = 16

    def __len__(self) -> int:
        return len(self.prompt_tokens if self.arrival_s is None else self.arrival_s)

    @property
    def has_lengths(self) -> bool:
        """Whether the rows have prompt and output lengths."""
        return len(self.prompt_tokens) == len(self)


def read_trace(
    path: str | Path,
    *,
    start_s: float = 0.0,
    end_s: float = np.inf,
    dequantise: Dequantise = "none",
    zero_tokens: ZeroTokens = "one",
    max_prompt_tokens: int | None = None,
    max_output_tokens: int | None = None,
    seed: int = 0,
) -> Trace:
    """Read a trace of any format in ``TRACES``, plain, gzip or Parquet.

    A process reads a file once, as long as it stays as it is: the points of a sweep share it.

    Args:
        path: The file.
        start_s: Seconds of the trace's clock at which to begin.
        end_s: Seconds of the trace's clock at which to stop.
        dequantise: Whether to spread time stamps over their tick.
        zero_tokens: What to do with a prompt or output of zero tokens.
        max_prompt_tokens: Cap on prompts; longer ones are cut to it.
        max_output_tokens: Cap on outputs; longer ones are cut to it.
        seed: Draws what a file of statistics leaves open, and the dequantised times.

    Raises:
        InputError: The file or a row of it is wrong, or no row is left.
    """
    policy = _Policy(
        start_s, end_s, dequantise, zero_tokens, max_prompt_tokens, max_output_tokens, seed
    )
    source = Source(Path(path))
    return _read(source, source.state, policy)


class _Policy(NamedTuple):
    """The arguments of `read_trace` beside the path."""

    start_s: float
    end_s: float
    dequantise: Dequantise
    zero_tokens: ZeroTokens
    max_prompt_tokens: int | None
    max_output_tokens: int | None
    seed: int


@lru_cache(maxsize=4)
def _read(source: Source, state: tuple[int, ...], policy: _Policy) -> Trace:
    """``state`` differs once the file has changed."""
    del state
    start_s, end_s, dequantise, zero_tokens, most_prompt, most_output, seed = policy
    reader = find_reader(source)
    rows = reader.read(source, Window(start_s, end_s, seed))
    notes = dict(rows.notes, rows_read=len(rows.lines))
    rows = windowed(sorted_rows(rows, notes), start_s, end_s, notes)
    _check_rows(source, rows)
    if dequantise == "uniform" and rows.arrival_s is not None:
        rows = replace(rows, arrival_s=dequantised(rows.arrival_s, np.random.default_rng(seed)))
    rows = counted_zeros(rows, zero_tokens, notes)
    if not len(rows.lines):
        raise InputError(f"{source.path}: every row has a length of zero")
    rows = clipped(rows, most_prompt, most_output, notes)
    return _trace(reader.name, str(source.path), cut_hashes(rows, notes), notes)


def find_reader(source: Source) -> Reader:
    """The format of a file.

    Raises:
        InputError: It is none of the known ones; the nearest is named.
    """
    head = source.head
    for reader in TRACES.values():
        if reader.matches(head):
            return reader
    keys = set(head.keys)
    near = max(TRACES.values(), key=lambda r: (r.layout == head.layout) * len(r.needs & keys))
    lacking = ", ".join(sorted(near.needs - keys)) or "a known mix of columns"
    hint = f"nearest is {near.name}, which needs {lacking}"
    if not near.needs & keys:
        hint = f"known are {', '.join(TRACES)}"
    raise source.fault(1, f"an unknown trace format; {hint}")


def within(
    trace: Trace,
    *,
    least: int = 1,
    most_prompt: int | None = None,
    most_output: int | None = None,
    most_total: int | None = None,
) -> Trace:
    """The rows whose lengths lie within limits; the others are counted as ``filtered``.

    Raises:
        InputError: No row is left, or the trace has no lengths.
    """
    if not trace.has_lengths:
        raise InputError(f"{trace.source}: has no lengths to filter by")
    prompts, outputs = trace.prompt_tokens, trace.output_tokens
    kept = (prompts >= least) & (outputs >= least)
    for lengths, most in (
        (prompts, most_prompt),
        (outputs, most_output),
        (prompts + outputs, most_total),
    ):
        kept &= lengths <= (np.inf if most is None else most)
    if not kept.any():
        raise InputError(f"{trace.source}: no row lies within these limits")
    index = np.flatnonzero(kept)
    counts = replace(trace.counts, rows_kept=len(index), filtered=len(trace) - len(index))
    return replace(take(trace, index), counts=counts)


def _check_rows(source: Source, rows: Rows) -> None:
    if not len(rows.lines):
        raise InputError(f"{source.path}: no request lies in the chosen window of time")
    if rows.arrival_s is None or rows.arrival_s[-1] < HORIZON_S:
        return
    late = int(np.argmax(rows.arrival_s >= HORIZON_S))
    what = f"arrives at {rows.arrival_s[late]:.6g} s, beyond the clock's {HORIZON_S:.0f} s"
    raise source.fault(int(rows.lines[late]), f"{what}; choose a window with start_s and end_s")


def _trace(name: str, source: str, rows: Rows, notes: dict[str, int]) -> Trace:
    """Read-only: the points of a sweep share it."""
    own = {"lines", "notes", "hash_block_tokens"}
    columns = {each.name: getattr(rows, each.name) for each in fields(rows) if each.name not in own}
    counts = ReadCounts(rows_kept=len(rows.lines), **notes)
    block_tokens = rows.hash_block_tokens or 16
    trace = Trace(name, source, counts=counts, hash_block_tokens=block_tokens, **columns)
    for each in fields(trace):
        if isinstance(column := getattr(trace, each.name), np.ndarray):
            column.setflags(write=False)
    return trace
