"""The canonical trace: CSV (also gzip) or Parquet.

Columns: ``prompt_tokens``, ``output_tokens``; optional ``arrival_s`` (all rows or none), ``class``
(rt | be), ``slo_ttft_s``, ``slo_tpot_s``, ``slo_e2e_s``, ``max_tokens``, ``prefix_hashes`` (or
``hash_ids``; numbers separated by spaces in CSV) and ``hash_block_tokens``. A blank cell of an
optional column states nothing. Other columns are ignored.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bros_sim.core.errors import InputError
from bros_sim.core.request import ServiceClass
from bros_sim.workload.readers.base import Policy, Rows, Source
from bros_sim.workload.readers.cells import Cells, Faults, hash_lists, optional, seconds, tokens
from bros_sim.workload.readers.columns import Converts, Table, build_table, read_csv

BLOCK_SIZES = tuple(2**n for n in range(12, 2, -1))
"""Block sizes tried, largest first, when a trace has hashes but no ``hash_block_tokens``."""


def classes(cells: Cells) -> list[Any]:
    """``rt``, ``be`` or blank."""
    known = list(ServiceClass)
    for index, value in enumerate(cells.values):
        if value not in (None, "", *known):
            cells.bad(index, f"must be rt or be, not {value}")
    return [ServiceClass(value) if value in known else None for value in cells.values]


def caps(cells: Cells) -> NDArray[np.int64]:
    """Caps on the output; 0 is refused, because it stands for a blank cell."""
    out = np.asarray(tokens(cells))
    cells.bad_where(out == 0, "must be at least 1, but is {}")
    return out


SECONDS = optional(seconds(1), np.nan)
COLUMNS: Converts = {
    **dict.fromkeys(("prompt_tokens", "output_tokens", "hash_block_tokens"), tokens),
    **dict.fromkeys(("arrival_s", "slo_ttft_s", "slo_tpot_s", "slo_e2e_s"), SECONDS),
    **dict.fromkeys(("prefix_hashes", "hash_ids"), hash_lists),
    "class": classes,
    "max_tokens": optional(caps, 0),
}


def read_canonical_csv(source: Source, _: Policy) -> Rows:
    """A canonical trace as CSV."""
    present = {name: COLUMNS[name] for name in source.head.keys if name in COLUMNS}
    return _rows(source, read_csv(source, present))


def read_canonical_parquet(source: Source, _: Policy) -> Rows:
    """A canonical trace as Parquet. Line n + 1 of an error message is row n, as in CSV."""
    try:
        with source.open_binary() as file:
            names = pq.read_schema(file).names
            columns = [name for name in names if name in COLUMNS]
            table = pq.read_table(pa.PythonFile(file, mode="r"), columns=columns)
    except (pa.ArrowException, OSError, ValueError) as error:
        what = str(error).partition("\n")[0]
        raise InputError(f"{source.path}: damaged Parquet file: {what}") from None
    for name in ("prompt_tokens", "output_tokens"):
        if name not in columns:
            raise InputError(f"{source.path}: the column {name} is missing")
    return _rows(source, _parquet_table(source, table, columns))


def _parquet_table(source: Source, table: Any, columns: Sequence[str]) -> Table:  # noqa: ANN401
    faults = Faults(source)
    values = [table.column(name).to_pylist() for name in columns]
    for name, column in zip(columns, values, strict=True):
        for row, value in enumerate(column):
            if isinstance(value, str) and name not in {"class", "prefix_hashes", "hash_ids"}:
                faults.add(row + 2, name, f"must be a number, not the text {value}")
    faults.check()
    rows = ((line, list(row)) for line, row in enumerate(zip(*values, strict=True), 2))
    return build_table(source, rows, {name: COLUMNS[name] for name in columns}, faults)


def _rows(source: Source, table: Table) -> Rows:
    stated = table.columns
    key = "prefix_hashes" if "prefix_hashes" in stated else "hash_ids"
    hashes = tuple(stated[key]) if any(stated.get(key, ())) else None
    times = _seconds(table, "arrival_s")
    if times is not None and (blank := np.isnan(times)).any():
        what = "arrival_s: is blank, while other rows have an arrival time"
        raise source.fault(int(table.lines[np.argmax(blank)]), what)
    return Rows(
        table.lines, times, table["prompt_tokens"], table["output_tokens"],
        tuple(stated["class"]) if any(stated.get("class", ())) else None,
        _seconds(table, "slo_ttft_s"), _seconds(table, "slo_tpot_s"), _seconds(table, "slo_e2e_s"),
        max_tokens=stated["max_tokens"] if np.any(stated.get("max_tokens", 0)) else None,
        prefix_hashes=hashes,
        hash_block_tokens=_block_tokens(source, table, hashes) if hashes else 16,
    )  # fmt: skip


def _seconds(table: Table, name: str) -> NDArray[np.float64] | None:
    values = np.asarray(table.columns.get(name, np.nan))
    return None if np.isnan(values).all() else values


def _block_tokens(source: Source, table: Table, hashes: Sequence[tuple[int, ...]]) -> int:
    """Tokens per prefix block: stated by the trace, or the only size that fits every row."""
    if "hash_block_tokens" in table.columns:
        sizes = np.unique(table["hash_block_tokens"])
        if len(sizes) == 1 and sizes[0] > 0:
            return int(sizes[0])
        raise source.fault(1, "hash_block_tokens: must be one positive number for the whole trace")
    counts = np.array([len(row) for row in hashes])
    prompts, counts = table["prompt_tokens"][counts > 0], counts[counts > 0]
    fits: list[int] = [size for size in BLOCK_SIZES if np.array_equal(-(-prompts // size), counts)]
    if len(fits) == 1:
        return fits[0]
    raise source.fault(1, "hash_block_tokens: state the tokens per prefix block in this column")
