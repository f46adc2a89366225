"""Sorts, cuts and filters the rows of a trace, and counts every change in their notes."""

from dataclasses import fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bros_sim.workload.readers.base import Policy, Rows

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

    The tick is the 1st percentile of the gaps between distinct stamps (a plain minimum would
    follow the millisecond jitter of a clock), and never reaches past the next stamp.
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
