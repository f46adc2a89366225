"""Reads a trace file into a `Trace` under one policy; whatever is changed is counted."""

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bros_sim.core.clock import HORIZON_S
from bros_sim.core.errors import InputError
from bros_sim.workload.readers import TRACES
from bros_sim.workload.readers.base import Policy, Reader, Rows, Source

AnyRows = TypeVar("AnyRows", bound=Rows)


def take(rows: AnyRows, index: NDArray[np.intp]) -> AnyRows:
    """The chosen rows of every column."""
    changes: dict[str, Any] = {}
    for column in fields(rows):
        values = getattr(rows, column.name)
        if isinstance(values, np.ndarray) and len(values):
            changes[column.name] = values[index]
        elif isinstance(values, tuple):
            changes[column.name] = tuple(values[n] for n in index.tolist())
    return replace(rows, **changes)


def sorted_rows(rows: Rows) -> Rows:
    """Rows by arrival; those of one time stay in the order of the file."""
    times = rows.arrival_s
    if times is None:
        return rows
    rows.notes["out_of_order"] = int(np.sum(np.diff(times) < 0))
    rows.notes["ties"] = int(np.sum(np.diff(np.sort(times)) == 0))
    return take(rows, np.argsort(times, kind="stable")) if rows.notes["out_of_order"] else rows


def windowed(rows: Rows, start_s: float, end_s: float) -> Rows:
    """The rows of a window of time, on a clock that starts with it."""
    times = rows.arrival_s
    if times is None or (start_s <= 0 and end_s == np.inf):
        return rows
    inside = (times >= start_s) & (times < end_s)
    rows.notes["outside_window"] = int(np.sum(~inside))
    return replace(take(rows, np.flatnonzero(inside)), arrival_s=times[inside] - start_s)


def dequantised(times: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Sorted times, each moved by a uniform share of its tick; the order of rows is kept.

    The tick is the 1st percentile of gaps between distinct stamps (the minimum would follow a
    clock's jitter), and never reaches past the next stamp.
    """
    stamps, member = np.unique(times, return_inverse=True)
    gaps = np.diff(stamps)
    if not len(gaps):
        return times
    room = np.minimum(np.append(gaps, np.inf), np.quantile(gaps, 0.01))
    return np.asarray(np.sort(times + rng.random(len(times)) * room[member]))


def sane_lengths(rows: Rows, policy: Policy) -> Rows:
    """Rows with lengths of zero raised to one token or left out, and others cut to the caps."""
    if not len(rows.prompt_tokens):
        return rows
    no_prompt, no_output = rows.prompt_tokens == 0, rows.output_tokens == 0
    rows.notes.update(zero_prompt=int(no_prompt.sum()), zero_output=int(no_output.sum()))
    if policy.zero_tokens == "drop":
        rows.notes["dropped"] = int((no_prompt | no_output).sum())
        rows = take(rows, np.flatnonzero(~(no_prompt | no_output)))
    most = {"prompt": policy.max_prompt_tokens, "output": policy.max_output_tokens}
    for name, cap in most.items():
        lengths = np.maximum(getattr(rows, f"{name}_tokens"), 1)
        if cap is not None:
            rows.notes[f"clipped_{name}"] = int((lengths > cap).sum())
            lengths = np.minimum(lengths, cap)
        rows = replace(rows, **{f"{name}_tokens": lengths})
    return rows


def cut_hashes(rows: Rows) -> Rows:
    """Rows with no more prefix hashes than their prompt has blocks."""
    if rows.prefix_hashes is None:
        return rows
    blocks = (-(-rows.prompt_tokens // rows.hash_block_tokens)).tolist()
    pairs = list(zip(rows.prefix_hashes, blocks, strict=True))
    rows.notes["long_hash_lists"] = sum(len(row) > limit for row, limit in pairs)
    return replace(rows, prefix_hashes=tuple(row[:limit] for row, limit in pairs))


@dataclass(frozen=True)
class ReadCounts:
    """What reading did to the rows of a file; in words: `changes.WORDS`.

    ``ties`` arrive with the row before them; ``missing_output`` rows are also in ``zero_output``.
    """

    rows_read: int = 0
    rows_kept: int = 0
    out_of_order: int = 0
    ties: int = 0
    outside_window: int = 0
    zero_prompt: int = 0
    zero_output: int = 0
    dropped: int = 0
    filtered: int = 0
    clipped_prompt: int = 0
    clipped_output: int = 0
    missing_output: int = 0
    chained: int = 0
    synthesised: int = 0
    long_hash_lists: int = 0


@dataclass(frozen=True, eq=False)
class Trace(Rows):
    """Requests as columns, sorted by arrival; arrival-only sets lack lengths (``has_lengths``)."""

    format: str = "canonical"
    source: str = "synthetic"

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def has_lengths(self) -> bool:
        return len(self.prompt_tokens) == len(self)

    @property
    def counts(self) -> ReadCounts:
        return ReadCounts(rows_kept=len(self), **self.notes)


def read_trace(path: str | Path, policy: Policy | None = None) -> Trace:
    """Read a trace of any format in ``TRACES``, plain, gzip or Parquet.

    The format is recognised by header or keys, never by the file's name. A process reads a file
    once, as long as it stays as it is: the points of a sweep share it. An `InputError` if the file
    or a row of it is wrong, or no row is left. In this order:

    1. Rows are sorted by arrival, stably: rows with one time keep the order of the file.
    2. Calendar clocks start at their earliest request; all other clocks are kept as they are.
    3. Rows outside ``[start_s, end_s)`` are left out; the clock is moved so that ``start_s`` is 0.
    4. ``dequantise="uniform"`` spreads each row over the tick of its time stamp (`dequantised`).
    5. A length of zero is raised to one token (``zero_tokens="one"``), or the row is left out
       (``"drop"``); a length over a cap is cut to it.
    """
    source = Source(Path(path))
    return _read(source, source.state, policy or Policy())


@lru_cache(maxsize=4)
def _read(source: Source, state: tuple[int, ...], policy: Policy) -> Trace:
    """``state`` differs once the file has changed. Read-only: the points of a sweep share it."""
    del state
    reader = find_reader(source)
    rows = reader.read(source, policy)
    rows.notes["rows_read"] = len(rows.lines)
    rows = windowed(sorted_rows(rows), policy.start_s, policy.end_s)
    _check_rows(source, rows)
    if policy.dequantise == "uniform" and rows.arrival_s is not None:
        rng = np.random.default_rng(policy.seed)
        rows = replace(rows, arrival_s=dequantised(rows.arrival_s, rng))
    rows = cut_hashes(sane_lengths(rows, policy))
    if not len(rows.lines):
        raise InputError(f"{source.path}: every row has a length of zero")
    columns = {each.name: getattr(rows, each.name) for each in fields(rows)}
    for column in columns.values():
        if isinstance(column, np.ndarray):
            column.setflags(write=False)
    return Trace(**columns, format=reader.name, source=str(source.path))


def find_reader(source: Source) -> Reader:
    """The format of a file; an `InputError` that names the nearest if it is no known one."""
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
    trace: Trace, *, least: int = 1, most_prompt: int | None = None, most_output: int | None = None,
    most_total: int | None = None,
) -> Trace:  # fmt: skip
    """Rows within limits, the others counted as ``filtered``; `InputError` if none are left."""
    if not trace.has_lengths:
        raise InputError(f"{trace.source}: has no lengths to filter by")
    prompts, outputs = trace.prompt_tokens, trace.output_tokens
    kept = (prompts >= least) & (outputs >= least)
    limits = ((prompts, most_prompt), (outputs, most_output), (prompts + outputs, most_total))
    for lengths, most in limits:
        kept &= lengths <= (np.inf if most is None else most)
    if not kept.any():
        raise InputError(f"{trace.source}: no row lies within these limits")
    notes = trace.notes | {"filtered": int(np.sum(~kept))}
    return replace(take(trace, np.flatnonzero(kept)), notes=notes)


def _check_rows(source: Source, rows: Rows) -> None:
    if not len(rows.lines):
        raise InputError(f"{source.path}: no request lies in the chosen window of time")
    if rows.arrival_s is None or rows.arrival_s[-1] < HORIZON_S:
        return
    late = int(np.argmax(rows.arrival_s >= HORIZON_S))
    what = f"arrives at {rows.arrival_s[late]:.6g} s, beyond the clock's {HORIZON_S:.0f} s"
    raise source.fault(int(rows.lines[late]), f"{what}; choose a window with start_s and end_s")
