"""The steps frame: one row for each shape of an iteration and how long it took.

It is what importers and the GPU bench write, what kernel sums are turned into, and all that a fit
sees. docs/latency.md documents the columns.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bros_sim.errors import InputError
from bros_sim.latency.base import StepShape
from bros_sim.workload.atomic import written

Floats = NDArray[np.float64]
Kind = Literal["prefill", "decode", "mixed"]
KINDS: tuple[Kind, ...] = ("prefill", "decode", "mixed")

COLUMNS = {
    "prefill_tokens": "prompt tokens computed in the step, over all chunks",
    "prefill_chunks": "chunks that they belong to",
    "prefill_context_tokens": "tokens that were in the cache before the chunks, summed over chunks",
    "prefill_attention_pairs": "sum over chunks of c * (x + c / 2), c its tokens, x its context",
    "decode_jobs": "requests that computed one token each",
    "decode_kv_tokens": "KV tokens that these attend to, summed, the new ones included",
    "time_s": "seconds, median over the repeats of this shape",
    "count": "repeats behind the row",
}
"""Column of the steps frame -> what it holds; a file has exactly these, in any order."""
ENDS = ("prefill_tokens", "decode_jobs", "decode_kv_tokens", "prefill_attention_pairs")
SPLIT_SEED = 20262
"""Seed of the split of a steps file into rows that are fitted and rows that are held out."""


def row_of(shape: StepShape, time_s: float, count: int = 1) -> dict[str, float]:
    """One row of the steps frame."""
    chunks, jobs, kv = shape
    return {
        "prefill_tokens": sum(c for c, _ in chunks),
        "prefill_chunks": len(chunks),
        "prefill_context_tokens": sum(x for _, x in chunks),
        "prefill_attention_pairs": sum(c * (x + c / 2) for c, x in chunks),
        "decode_jobs": jobs,
        "decode_kv_tokens": kv,
        "time_s": time_s,
        "count": count,
    }


def steps_frame(rows: Iterable[dict[str, float]]) -> pd.DataFrame:
    """Rows as a frame with the columns in their order."""
    return pd.DataFrame(list(rows), columns=list(COLUMNS)).astype(float)


def write_steps(path: Path, steps: pd.DataFrame) -> None:
    """Write a steps file, whole or not at all.

    Raises:
        InputError: It cannot be written.
    """
    whole = [name for name in COLUMNS if name not in {"time_s", "prefill_attention_pairs"}]
    with written(path) as draft:
        steps[list(COLUMNS)].astype(dict.fromkeys(whole, "int64")).to_csv(draft, index=False)


def read_steps(path: Path) -> pd.DataFrame:
    """Read and check a steps file.

    Raises:
        InputError: It cannot be read, a column is missing or unknown, or a row makes no sense:
            one line for each fault, the first five of a column.
    """
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read as CSV: {reason}") from None
    missing = [name for name in COLUMNS if name not in frame]
    unknown = [name for name in frame if name not in COLUMNS]
    faults = [f"{path}:1: the column {name} is missing" for name in missing]
    faults += [f"{path}:1: there is no column {name} in a steps file" for name in unknown]
    if not faults and frame.empty:
        faults = [f"{path}:2: there are no rows"]
    if faults:
        raise InputError(*faults)
    numbers = frame[list(COLUMNS)].apply(pd.to_numeric, errors="coerce").astype(float)
    faults = [line for name, bad, what in _rules(numbers) for line in _lines(path, name, bad, what)]
    if faults:
        raise InputError(*faults)
    checked: pd.DataFrame = numbers
    return checked


def _rules(rows: pd.DataFrame) -> list[tuple[str, "pd.Series[bool]", str]]:
    """Column, rows at fault, and what is wrong with them."""
    sensible = {name: rows[name].between(0, np.finfo(float).max) for name in COLUMNS}
    rules = [(name, ~good, "should be a number >= 0") for name, good in sensible.items()]
    sound = pd.concat(sensible, axis=1).all(axis=1)
    chunks, jobs = rows["prefill_chunks"], rows["decode_jobs"]
    tokens, context = rows["prefill_tokens"], rows["prefill_context_tokens"]
    pairs = rows["prefill_attention_pairs"]
    low = tokens**2 / (2 * chunks.where(chunks > 0, 1))
    rules += [
        ("time_s", sound & (rows["time_s"] == 0), "should be more than 0"),
        ("count", sound & (rows["count"] < 1), "should be at least 1"),
        ("prefill_chunks", sound & ((tokens > 0) != (chunks > 0)), "a chunk has tokens"),
        ("prefill_tokens", sound & (tokens < chunks), "fewer tokens than chunks"),
        ("prefill_context_tokens", sound & (chunks == 0) & (context > 0), "context of no chunk"),
        (
            "prefill_attention_pairs",
            sound & ((pairs < 0.999 * low) | (pairs > 1.001 * tokens * (context + tokens / 2))),
            "is not the sum of c * (x + c / 2) of any such chunks",
        ),
        (
            "decode_kv_tokens",
            sound & (rows["decode_kv_tokens"] < jobs),
            "fewer KV tokens than jobs",
        ),
        (
            "decode_kv_tokens",
            sound & (jobs == 0) & (rows["decode_kv_tokens"] > 0),
            "KV tokens of no job",
        ),
        ("decode_jobs", sound & (jobs + tokens == 0), "a step computes at least one token"),
    ]
    return rules


def _lines(path: Path, name: str, bad: "pd.Series[bool]", what: str) -> list[str]:
    rows = np.flatnonzero(bad)
    lines = [f"{path}:{row + 2}: {name}: {what}" for row in rows[:5]]
    if rows.size > 5:
        lines.append(f"{path}: {name}: {what} (and {rows.size - 5} more rows)")
    return lines


def kinds_of(steps: pd.DataFrame) -> "pd.Series[str]":
    """``prefill``, ``decode`` or ``mixed`` for each row."""
    names = np.where(
        steps["prefill_chunks"] == 0,
        "decode",
        np.where(steps["decode_jobs"] == 0, "prefill", "mixed"),
    )
    return pd.Series(names.tolist(), index=steps.index, dtype=str)


def split(steps: pd.DataFrame, share: float = 0.25, seed: int = SPLIT_SEED) -> "pd.Series[bool]":
    """Which rows are held out: ``share`` of each kind, drawn by the seed and the order of rows.

    The rows at the ends of the range (fewest and most tokens, jobs, KV, pairs) are always fitted.
    """
    rng = np.random.default_rng(seed)
    draw = pd.Series(rng.random(len(steps)), index=steps.index)
    ends: set[object] = set()
    for _, part in steps.groupby(kinds_of(steps)):
        for name in ENDS:
            ends |= {part[name].idxmin(), part[name].idxmax()}
    rank = draw.groupby(kinds_of(steps)).rank(pct=True)
    return (rank <= share) & ~steps.index.isin(list(ends))
