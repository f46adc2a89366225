"""Writing tables as CSV files: whole or not at all, plain or gzip."""

import csv
import gzip
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from bros_sim.core.atomic import written
from bros_sim.core.errors import InputError

CSV_SUFFIXES = (".csv", ".csv.gz")


def write_csv(header: Sequence[str], rows: Iterable[Sequence[object]], path: Path) -> None:
    """Write a table as CSV or gzipped CSV; floats to a nanosecond, ``None`` as an empty cell."""
    require_csv(path)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    raw = text.getvalue().encode()
    with written(path) as draft:
        draft.write_bytes(gzip.compress(raw, mtime=0) if path.name.endswith(".gz") else raw)


def require_csv(path: Path) -> None:
    """Refuse what cannot become a CSV file, before hours of measuring rather than after."""
    if not path.name.endswith(CSV_SUFFIXES):
        raise InputError(f"{path}: the name must end in {' or '.join(CSV_SUFFIXES)}")
    if not path.parent.is_dir():
        raise InputError(f"{path}: cannot be written: there is no folder {path.parent}")


def _cell(value: object) -> object:
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else round(value, 9)
    return value
