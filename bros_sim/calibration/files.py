"""Foreign JSON files read with place and path of every fault; tables written as CSV, whole."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bros_sim.config.messages import finished
from bros_sim.core.atomic import written
from bros_sim.core.errors import Fault, InputError

MAX_FAULTS = 10  # faults of one file that are printed; the rest is only counted
GZIP_MAGIC = b"\x1f\x8b"
Count = Annotated[int, Field(ge=1)]
CSV_SUFFIXES = (".csv", ".csv.gz")


class Foreign(BaseModel):
    """Base of what other programs write: unknown keys are ignored, numbers are finite numbers."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)


M = TypeVar("M", bound=Foreign)


def read_text(path: Path) -> str:
    """The text of a file, gzip or plain; `InputError` if it is unreadable, damaged or not UTF-8."""
    try:
        raw = path.read_bytes()
        plain = gzip.decompress(raw) if raw[:2] == GZIP_MAGIC else raw
        return plain.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text: {error.reason}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: damaged or truncated gzip data: {error}") from None
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: cannot be read: {what}") from None


def read_json(path: Path) -> Any:  # noqa: ANN401 - whatever JSON holds
    """The value of a JSON file, gzip or plain; `InputError` if it holds none."""
    return parse_json(read_text(path), path)


def parse_json(text: str, path: Path, line: int = 1) -> Any:  # noqa: ANN401 - whatever JSON holds
    """The value of a JSON text that starts in ``line`` of ``path``; `InputError` if it is none."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{path}:{line + error.lineno - 1}:{error.colno}"
        raise InputError(f"{place}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}:{line}: not JSON: {error}") from None


def checked(shape: type[M], data: object, place: str, at: Sequence[int | str] = ()) -> M:
    """``data``, ``at`` a path in ``place``, as a ``shape``; `InputError` with all its faults."""
    try:
        return shape.model_validate(data)
    except ValidationError as error:
        found = [replace(f, path=(*at, *f.path), place=place) for f in finished(error, shape)]
        raise InputError(*capped(place, found)) from None


def capped(place: str, faults: Iterable[Fault | str]) -> list[Fault | str]:
    """The first faults, and how many more there are."""
    found = list(dict.fromkeys(faults))
    more = len(found) - MAX_FAULTS
    return [*found[:MAX_FAULTS], *([f"{place}: and {more} more faults"] if more > 0 else [])]


def refuse(place: str, faults: Sequence[Fault | str]) -> None:
    """Raise `InputError` with the first of the faults, if there are any."""
    if faults:
        raise InputError(*capped(place, faults))


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
