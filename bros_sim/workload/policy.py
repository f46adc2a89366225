"""Sorts, cuts and filters the rows of a trace, and counts every change.

Each function notes its counts under the names of ``ReadCounts``.
"""

from dataclasses import fields, replace
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from bros_sim.workload.readers.base import Rows

Dequantise = Literal["none", "uniform"]
ZeroTokens = Literal["one", "drop"]


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


Columns = TypeVar("Columns", bound=_Dataclass)


def take(rows: Columns, index: NDArray[np.intp] | NDArray[np.bool_]) -> Columns:
    """The chosen rows of every column of a `Rows` or a `Trace`."""
    order = np.flatnonzero(index) if index.dtype == bool else index
    changes: dict[str, Any] = {}
    for column in fields(rows):
        values = getattr(rows, column.name)
        if isinstance(values, np.ndarray) and len(values):
            changes[column.name] = values[order]
        elif isinstance(values, tuple):
            changes[column.name] = tuple(values[n] for n in order.tolist())
    return replace(rows, **changes)


def sorted_rows(rows: Rows, notes: dict[str, int]) -> Rows:
    """Rows by arrival; those of one time stay in the order of the file."""
    if rows.arrival_s is None:
        return rows
    notes["out_of_order"] = int(np.sum(np.diff(rows.arrival_s) < 0))
    if notes["out_of_order"]:
        rows = take(rows, np.argsort(rows.arrival_s, kind="stable"))
    assert rows.arrival_s is not None
    notes["ties"] = int(np.sum(np.diff(rows.arrival_s) == 0))
    return rows


def windowed(rows: Rows, start_s: float, end_s: float, notes: dict[str, int]) -> Rows:
    """The rows of a window of time, on a clock that starts with it."""
    if rows.arrival_s is None or (start_s <= 0 and end_s == np.inf):
        return rows
    inside = (rows.arrival_s >= start_s) & (rows.arrival_s < end_s)
    notes["outside_window"] = int(np.sum(~inside))
    rows = take(rows, inside)
    assert rows.arrival_s is not None
    return replace(rows, arrival_s=rows.arrival_s - start_s)


def dequantised(times: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Sorted times, each moved by a uniform share of its tick; the order of rows is kept.

    The tick is the 1st percentile of the gaps between distinct stamps (a plain minimum would
    follow the millisecond jitter of a clock), and never reaches past the next stamp.
    """
    stamps, member = np.unique(times, return_inverse=True)
    gaps = np.diff(stamps)
    if not len(gaps):
        return times
    room = np.minimum(np.append(gaps, np.inf), np.quantile(gaps, 0.01))
    return np.asarray(np.sort(times + rng.random(len(times)) * room[member]))


def counted_zeros(rows: Rows, policy: ZeroTokens, notes: dict[str, int]) -> Rows:
    """Rows with zero lengths raised to one token or left out."""
    if not len(rows.prompt_tokens):
        return rows
    no_prompt, no_output = rows.prompt_tokens == 0, rows.output_tokens == 0
    notes["zero_prompt"], notes["zero_output"] = int(no_prompt.sum()), int(no_output.sum())
    if policy == "drop":
        notes["dropped"] = int((no_prompt | no_output).sum())
        return take(rows, ~(no_prompt | no_output))
    return replace(
        rows,
        prompt_tokens=np.maximum(rows.prompt_tokens, 1),
        output_tokens=np.maximum(rows.output_tokens, 1),
    )


def clipped(rows: Rows, prompt: int | None, output: int | None, notes: dict[str, int]) -> Rows:
    """Rows with lengths cut to the caps."""
    if prompt is not None:
        notes["clipped_prompt"] = int((rows.prompt_tokens > prompt).sum())
        rows = replace(rows, prompt_tokens=np.minimum(rows.prompt_tokens, prompt))
    if output is not None:
        notes["clipped_output"] = int((rows.output_tokens > output).sum())
        rows = replace(rows, output_tokens=np.minimum(rows.output_tokens, output))
    return rows


def cut_hashes(rows: Rows, notes: dict[str, int]) -> Rows:
    """Rows with no more prefix hashes than their prompt has blocks."""
    if rows.prefix_hashes is None or rows.hash_block_tokens is None:
        return rows
    blocks = (-(-rows.prompt_tokens // rows.hash_block_tokens)).tolist()
    pairs = list(zip(rows.prefix_hashes, blocks, strict=True))
    notes["long_hash_lists"] = sum(len(row) > limit for row, limit in pairs)
    return replace(rows, prefix_hashes=tuple(row[:limit] for row, limit in pairs))
