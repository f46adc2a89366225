"""The canonical table of measured iterations, as importers and ``profile measure`` write it."""

import csv
import gzip
import io
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from bros_sim.errors import InputError
from bros_sim.latency.base import StepShape
from bros_sim.workload.atomic import written

CSV_SUFFIXES = (".csv", ".csv.gz")


@dataclass(frozen=True, slots=True)
class StepRow:
    """One measured iteration; the fields are the columns of the table, in this order.

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
    chunks, jobs, kv_tokens, _ = shape
    return StepRow(
        prefill_tokens=sum(tokens for tokens, _ in chunks),
        prefill_chunks=len(chunks),
        prefill_context_tokens=sum(context for _, context in chunks),
        prefill_attention_pairs=sum(tokens * (context + tokens / 2) for tokens, context in chunks),
        decode_jobs=jobs,
        decode_kv_tokens=kv_tokens,
        time_s=time_s,
        count=count,
    )


def write_steps(rows: Iterable[StepRow], path: Path) -> None:
    """Write measured iterations as CSV, whole or not at all; same rows, same bytes.

    Raises:
        InputError: The name has another ending, or the file cannot be written.
    """
    write_csv(STEP_COLUMNS, map(astuple, rows), path)


def write_csv(header: Sequence[str], rows: Iterable[Sequence[object]], path: Path) -> None:
    """Write a table as CSV or gzipped CSV; ``None`` becomes an empty cell.

    Raises:
        InputError: The name has another ending, or the file cannot be written.
    """
    require_csv(path)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    raw = text.getvalue().encode()
    with written(path) as draft:
        draft.write_bytes(gzip.compress(raw, mtime=0) if path.name.endswith(".gz") else raw)


def require_csv(path: Path) -> None:
    """Refuse what cannot become a CSV file, before hours of measuring rather than after.

    Raises:
        InputError: The name has another ending, or its folder is not there.
    """
    if not path.name.endswith(CSV_SUFFIXES):
        raise InputError(f"{path}: the name must end in {' or '.join(CSV_SUFFIXES)}")
    if not path.parent.is_dir():
        raise InputError(f"{path}: cannot be written: there is no folder {path.parent}")


def _cell(value: object) -> object:
    """Numbers as short as they can be read back to at least a nanosecond."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else round(value, 9)
    return value
