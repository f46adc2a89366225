"""The table of iterations: one row for each shape of an iteration and how long it took.

Importers and ``profile measure`` write it, kernel sums are turned into it, and fits see nothing
else. docs/calibrate-your-gpu.md documents the columns.
"""

import io
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bros_sim.calibration.files import read_text, write_csv
from bros_sim.core.errors import InputError
from bros_sim.engine.latency_model import StepShape
from bros_sim.latency.term_parameters import LatencyParameters, Validity

Floats = NDArray[np.float64]
Kind = Literal["prefill", "decode", "mixed"]
KINDS: tuple[Kind, ...] = ("prefill", "decode", "mixed")
ENDS = ("prefill_tokens", "decode_jobs", "decode_kv_tokens", "prefill_attention_pairs")
SPLIT_SEED = 20262  # of the split of a steps file into rows fitted and rows held out
LONGEST_KV = 8192


@dataclass(frozen=True, slots=True)
class StepRow:
    """One iteration; the fields are the columns of the table, in this order.

    ``prefill_attention_pairs`` is the sum over the chunks of ``tokens * (context + tokens / 2)``,
    the attention work of docs/latency.md. ``decode_kv_tokens`` includes the new tokens. ``time_s``
    is the median, or the mean, of ``count`` timings.
    """

    prefill_tokens: int
    prefill_chunks: int
    prefill_context_tokens: int
    prefill_attention_pairs: float
    decode_jobs: int
    decode_kv_tokens: float
    time_s: float
    count: int


STEP_COLUMNS = tuple(item.name for item in fields(StepRow))


def step_row(shape: StepShape, time_s: float, count: int) -> StepRow:
    """The row of an iteration of ``shape`` that took ``time_s`` seconds."""
    chunks, seqs, kv_tokens, _ = shape
    return StepRow(
        prefill_tokens=sum(tokens for tokens, _ in chunks),
        prefill_chunks=len(chunks),
        prefill_context_tokens=sum(context for _, context in chunks),
        prefill_attention_pairs=sum(tokens * (context + tokens / 2) for tokens, context in chunks),
        decode_jobs=seqs,
        decode_kv_tokens=kv_tokens,
        time_s=time_s,
        count=count,
    )


def steps_frame(rows: Iterable[StepRow]) -> pd.DataFrame:
    """Rows as a frame of floats with the columns in their order."""
    return pd.DataFrame(map(astuple, rows), columns=list(STEP_COLUMNS)).astype(float)


def write_steps(rows: Iterable[StepRow], path: Path) -> None:
    """Write measured iterations as CSV, whole or not at all; same rows, same bytes."""
    write_csv(STEP_COLUMNS, map(astuple, rows), path)


def read_steps(path: Path) -> pd.DataFrame:
    """A steps file, plain or gzip; `InputError` with each fault, the first five of a column."""
    text = read_text(path)
    try:
        frame = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    except ValueError as error:
        raise InputError(f"{path}: cannot be read as CSV: {error}") from None
    missing = [name for name in STEP_COLUMNS if name not in frame]
    unknown = [name for name in frame if name not in STEP_COLUMNS]
    faults = [f"{path}:1: the column {name} is missing" for name in missing]
    faults += [f"{path}:1: there is no column {name} in a steps file" for name in unknown]
    if not faults and frame.empty:
        faults = [f"{path}:2: there are no rows"]
    if faults:
        raise InputError(*faults)
    numbers = frame[list(STEP_COLUMNS)].apply(pd.to_numeric, errors="coerce").astype(float)
    faults = [line for name, bad, what in _rules(numbers) for line in _lines(path, name, bad, what)]
    if faults:
        raise InputError(*faults)
    return pd.DataFrame(numbers)


def _rules(rows: pd.DataFrame) -> list[tuple[str, "pd.Series[bool]", str]]:
    sensible = {name: rows[name].between(0, np.finfo(float).max) for name in STEP_COLUMNS}
    rules = [(name, ~good, "should be a number >= 0") for name, good in sensible.items()]
    sound = pd.concat(sensible, axis=1).all(axis=1)
    chunks, seqs = rows["prefill_chunks"], rows["decode_jobs"]
    tokens, context = rows["prefill_tokens"], rows["prefill_context_tokens"]
    pairs, kv = rows["prefill_attention_pairs"], rows["decode_kv_tokens"]
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
        ("decode_kv_tokens", sound & (kv < seqs), "fewer KV tokens than requests"),
        ("decode_kv_tokens", sound & (seqs == 0) & (kv > 0), "KV tokens of no request"),
        ("decode_jobs", sound & (seqs + tokens == 0), "an iteration computes at least one token"),
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
    with_decode = np.where(steps["decode_jobs"] == 0, "prefill", "mixed")
    names = np.where(steps["prefill_chunks"] == 0, "decode", with_decode)
    return pd.Series(names.tolist(), index=steps.index, dtype=str)


def split(steps: pd.DataFrame, share: float = 0.25, seed: int = SPLIT_SEED) -> "pd.Series[bool]":
    """Which rows are held out: ``share`` of each kind, drawn by the seed, no end of a range."""
    kinds = kinds_of(steps)
    ends: set[object] = set()
    for _, part in steps.groupby(kinds):
        for name in ENDS:
            ends |= {part[name].idxmin(), part[name].idxmax()}
    draw = pd.Series(np.random.default_rng(seed).random(len(steps)), index=steps.index)
    rank = draw.groupby(kinds).rank(pct=True)
    return (rank <= share) & ~steps.index.isin(list(ends))


def sample_shapes(validity: Validity, count: int, seed: int) -> list[StepShape]:
    """A third each decode, prefill, mixed; log-uniform sizes, to 8192 tokens and 256 requests."""
    rng = np.random.default_rng(seed)
    kinds = ("decode", "prefill", "mixed")
    return [_shape(validity, kinds[n % 3], rng) for n in range(count)]


def sample_steps(model: LatencyParameters, count: int, seed: int) -> pd.DataFrame:
    """Random iterations in the model's range with the times that it gives them itself."""
    shapes, running = sample_shapes(model.validity, count, seed), model.make()
    return steps_frame(step_row(shape, running.step_s(shape), 1) for shape in shapes)


def _shape(validity: Validity, kind: str, rng: np.random.Generator) -> StepShape:
    most = validity.max_decode_jobs or 256
    longest = min(LONGEST_KV, validity.max_kv_tokens_per_job or LONGEST_KV)
    tokens = validity.max_tokens or 8192
    seqs = 0 if kind == "prefill" else _log(rng, 1, most)
    kv = seqs * _log(rng, 16, longest) if seqs else 0
    kv = max(seqs, min(kv, validity.max_kv_tokens or kv))
    if kind == "decode":
        return StepShape((), seqs, kv)
    room = min(validity.max_chunk_tokens or tokens, tokens - seqs)
    room //= 1 if kind == "prefill" else 2
    chunk = _log(rng, 16, room)
    context = int(rng.choice([0, _log(rng, 16, validity.max_context_tokens or tokens)]))
    return StepShape(((chunk, context),), seqs, kv)


def _log(rng: np.random.Generator, low: int, high: int) -> int:
    return int(np.exp(rng.uniform(np.log(low), np.log(high + 1))))
