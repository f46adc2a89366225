"""Cells of a trace -> numbers, times, hashes; a bad one is reported with file, line and column."""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bros_sim.core.errors import Code, Fault, InputError
from bros_sim.workload.readers.base import MAX_FAULTS, Source

MAX_TOKENS = 10**9
"""More tokens than this in one request is a broken file."""
MAX_RAW_S = 2.0**40

STAMP = re.compile(
    r"((?:19[7-9]|20\d|21\d)\d-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d{1,9})?)\s*"
    r"(Z|([+-])(\d\d):?(\d\d))?"
)
"""Date, time and optional zone, for the years that nanoseconds since 1970 can hold."""


@dataclass
class Faults:
    """The faults of one file, so that several are reported at once."""

    source: Source
    found: list[Fault] = field(default_factory=list)
    total: int = 0

    def add(self, line: int, column: str, what: str) -> None:
        self.total += 1
        if self.total <= MAX_FAULTS:
            self.found.append(Fault(Code.OTHER, (column,), what, f"{self.source.path}:{line}"))

    def check(self) -> None:
        more = self.total - len(self.found)
        extra = [f"{self.source.path}: and {more} more faults of this kind"] if more else []
        if self.found:
            raise InputError(*self.found, *extra)


@dataclass(frozen=True)
class Cells:
    """One block of one column, and where it stands."""

    column: str
    values: Sequence[Any]
    lines: Sequence[int]
    faults: Faults

    def bad(self, index: int, what: str) -> None:
        self.faults.add(self.lines[index], self.column, what)

    def bad_where(self, mask: NDArray[np.bool_], what: str) -> None:
        """Note that the cells of ``mask`` are wrong; ``{}`` in ``what`` is the cell."""
        for index in np.flatnonzero(mask).tolist():
            self.bad(index, what.format(show(self.values[index])))


Convert = Callable[[Cells], "list[Any] | NDArray[Any]"]


def show(value: object) -> str:
    """A value as error messages quote it."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _number(value: object) -> float:
    """A JSON number or the text of a CSV cell as float; JSON text and booleans are refused."""
    if isinstance(value, bool) or value is None:
        raise TypeError
    return float(value)  # type: ignore[arg-type]


def _numbers(cells: Cells) -> NDArray[np.float64]:
    with suppress(TypeError, ValueError, OverflowError):
        return np.fromiter(map(_number, cells.values), np.float64, len(cells.values))
    out = np.zeros(len(cells.values))
    for index, value in enumerate(cells.values):
        try:
            out[index] = _number(value)
        except (TypeError, ValueError):
            cells.bad(index, f"must be a number, not {show(value) or 'nothing'}")
        except OverflowError:
            cells.bad(index, "is too large")
    return out


def number(cells: Cells) -> NDArray[np.float64]:
    """Finite numbers >= 0."""
    out = _numbers(cells)
    cells.bad_where(~np.isfinite(out), "must be a finite number, not {}")
    cells.bad_where(out < 0, "must not be negative, but is {}")
    return out


def seconds(per_second: float) -> Convert:
    """Times >= 0 in units of ``1 / per_second`` seconds."""

    def convert(cells: Cells) -> NDArray[np.float64]:
        out = number(cells) / per_second
        cells.bad_where(out > MAX_RAW_S, "is too large for a time: {}")
        return out

    return convert


def tokens(cells: Cells) -> NDArray[np.int64]:
    """Whole numbers of tokens from 0 to 10**9."""
    out = number(cells)
    cells.bad_where(out > MAX_TOKENS, "is more than 10**9 tokens: {}")
    sane = np.where(np.isfinite(out) & (out <= MAX_TOKENS), out, 0.0)
    cells.bad_where(sane != np.floor(sane), "must be a whole number of tokens, not {}")
    return sane.astype(np.int64)


def optional(convert: Convert, blank: float) -> Convert:
    """Like ``convert``, with ``blank`` where a cell is empty or null."""

    def converted(cells: Cells) -> NDArray[Any]:
        full = [n for n, v in enumerate(cells.values) if v is not None and v != ""]
        stated, lines = ([column[n] for n in full] for column in (cells.values, cells.lines))
        values = np.asarray(convert(Cells(cells.column, stated, lines, cells.faults)))
        out = np.full(len(cells.values), blank, values.dtype)
        out[full] = values
        return out

    return converted


def stamps(cells: Cells) -> NDArray[np.int64]:
    """Calendar times as integer nanoseconds since 1970 UTC; no zone means UTC if none has one."""
    texts, shift_ns, zones = ["1970-01-01"] * len(cells.values), [], set()
    for index, value in enumerate(cells.values):
        match = STAMP.fullmatch(str(value).strip())
        shift_ns.append(_zone_ns(match))
        if match is None:
            cells.bad(index, f"must be a time such as 2023-11-16 18:17:03.97, not {show(value)}")
            continue
        texts[index] = match[1]
        zones.add(match[2] is not None)
        if len(zones) == 2:
            cells.bad(index, "mixes times with and without a time zone")
            zones = {match[2] is not None}
    return _nanoseconds(texts, cells) - np.array(shift_ns, np.int64)


def _zone_ns(match: re.Match[str] | None) -> int:
    if match is None or match[3] is None:
        return 0
    return int(f"{match[3]}1") * (int(match[4]) * 3600 + int(match[5]) * 60) * 10**9


def _nanoseconds(texts: list[str], cells: Cells) -> NDArray[np.int64]:
    with suppress(ValueError):
        return np.array(texts, dtype="datetime64[ns]").astype(np.int64)
    for index, text in enumerate(texts):
        try:
            np.datetime64(text, "ns")
        except ValueError:
            cells.bad(index, f"is not a date: {show(text)}")
    return np.zeros(len(texts), np.int64)


def hash_lists(cells: Cells) -> list[tuple[int, ...]]:
    """Lists of integers: a JSON or Parquet list, or numbers separated by spaces."""
    out: list[tuple[int, ...]] = []
    for index, value in enumerate(cells.values):
        items = value.split() if isinstance(value, str) else value
        try:
            out.append(tuple(_hash(item) for item in (() if items is None else items)))
        except (TypeError, ValueError, OverflowError):
            cells.bad(index, "must be a list of whole numbers below 2**63")
            out.append(())
    return out


def _hash(value: object) -> int:
    key = int(value) if isinstance(value, str) else value
    if not isinstance(key, int | np.integer) or isinstance(key, bool) or abs(int(key)) >= 2**63:
        raise ValueError
    return int(key)
