"""Columns of a trace, from CSV rows or JSON objects, converted block by block."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bros_sim.workload.readers.base import Source, split_csv
from bros_sim.workload.readers.cells import Cells, Convert, Faults, show

BLOCK_ROWS = 1 << 16
Converts = Mapping[str, Convert]
Numbered = Iterable[tuple[int, list[Any]]]
"""Rows, each with its line."""


@dataclass(frozen=True)
class Table:
    """Converted columns, and the line of each row."""

    columns: Mapping[str, Any]
    lines: NDArray[np.int64]

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - arrays or lists, by converter
        return self.columns[name]


def read_csv(source: Source, converts: Converts) -> Table:
    """Columns of a CSV file with a header; a row of another width is a fault."""
    lines = source.lines()
    top, header = next(lines)
    names = [name.strip() for name in split_csv(header)]
    faults = Faults(source)
    for name in converts:
        if names.count(name) > 1:
            raise source.fault(top, f"{name}: the column stands twice in the header")
    index = [names.index(name) for name in converts]

    def rows() -> Numbered:
        for line, text in lines:
            fields = split_csv(text)
            if len(fields) == len(names):
                yield line, [fields[i].strip() for i in index]
            else:
                what = f"has {len(fields)} columns where the header has {len(names)}"
                faults.add(line, "row", what)

    return build_table(source, rows(), converts, faults)


def read_records(
    source: Source, records: Iterable[tuple[int, Mapping[str, Any]]], converts: Converts
) -> Table:
    """Columns from JSON objects; a key that is missing or holds text for a number is a fault."""
    faults = Faults(source)

    def rows() -> Numbered:
        for line, record in records:
            missing = [name for name in converts if name not in record]
            for name in missing:
                faults.add(line, name, "the key is missing")
            if not missing:
                yield line, [_unquoted(record[name], name, line, faults) for name in converts]

    return build_table(source, rows(), converts, faults)


def _unquoted(value: object, name: str, line: int, faults: Faults) -> object:
    """JSON text is never taken for a number; time stamps alone are text in JSON."""
    if isinstance(value, str | dict):
        faults.add(line, name, f"must be a number, not {show(value)}")
        return 0
    return value


def build_table(source: Source, rows: Numbered, converts: Converts, faults: Faults) -> Table:
    """Convert rows block by block; an `InputError` if a cell is wrong, or there are no rows."""
    parts: dict[str, list[Any]] = {name: [] for name in converts}
    numbers: list[int] = []
    rows = iter(rows)
    while block := list(islice(rows, BLOCK_ROWS)):
        lines = [line for line, _ in block]
        numbers += lines
        for column, name in enumerate(converts):
            cells = Cells(name, [values[column] for _, values in block], lines, faults)
            parts[name].append(converts[name](cells))
    faults.check()
    if not numbers:
        raise source.fault(1, "the trace has no rows")
    joined: dict[str, Any] = {
        name: np.concatenate(blocks) if isinstance(blocks[0], np.ndarray) else [*chain(*blocks)]
        for name, blocks in parts.items()
    }
    return Table(joined, np.array(numbers, np.int64))
