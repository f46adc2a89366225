"""A trace file as text, read line by line, the rows that a reader makes of it, and its format."""

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from bros_sim.core.errors import InputError
from bros_sim.core.request import ServiceClass

GZIP_MAGIC = b"\x1f\x8b"
PARQUET_MAGIC = b"PAR1"
MAX_FAULTS = 10
"""Faults of one file that are printed; the rest is only counted."""


@dataclass(frozen=True)
class Head:
    """What a format is recognised by: the layout, its column names or keys, the first data row."""

    layout: str
    keys: tuple[str, ...]
    first: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """One trace file. Its name does not matter; gzip and Parquet are recognised by content."""

    path: Path

    @cached_property
    def magic(self) -> bytes:
        with self.open_binary() as file:
            return file.read(4)

    def open_binary(self) -> BinaryIO:
        """Open the raw bytes; an `InputError` if the file is missing, a folder, or not readable."""
        try:
            return self.path.open("rb")
        except (OSError, ValueError) as error:
            what = getattr(error, "strerror", None) or str(error)
            raise InputError(f"{self.path}: cannot be read: {what}") from None

    @property
    def state(self) -> tuple[int, ...]:
        """Differs once the file has changed; () if there is no file."""
        try:
            found = self.path.stat()
        except (OSError, ValueError):
            return ()
        return found.st_ino, found.st_size, found.st_mtime_ns

    def fault(self, line: int, what: str) -> InputError:
        return InputError(f"{self.path}:{line}: {what}")

    def lines(self) -> Generator[tuple[int, str], None, None]:
        """Number and text of lines that are not blank; `InputError` if gzip or UTF-8 is damaged."""
        number = 0
        try:
            zipped = self.magic[:2] == GZIP_MAGIC
            with gzip.open(self.path) if zipped else self.open_binary() as file:
                for raw in file:
                    number += 1
                    text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
                    if text.strip():
                        yield number, text
        except UnicodeDecodeError as error:
            raise self.fault(number, f"not UTF-8 text: {error.reason}") from None
        except (EOFError, zlib.error, OSError) as error:
            raise self.fault(number + 1, f"damaged or truncated gzip data: {error}") from None

    @cached_property
    def head(self) -> Head:
        """Layout and keys; an `InputError` if the file is empty, or no table or JSON."""
        if self.magic == PARQUET_MAGIC:
            return Head("parquet", ())
        with closing(self.lines()) as lines:
            number, first = next(lines, (1, ""))
            _, second = next(lines, (0, ""))
        if not first:
            raise self.fault(1, "the file is empty")
        if first.lstrip()[0] in "{[":
            return self._json_head(number, first)
        names = split_csv(first)
        if _is_number(names[0]):
            return Head("headerless", (), tuple(names))
        return Head("csv", tuple(name.strip() for name in names), tuple(split_csv(second)))

    def _json_head(self, number: int, first: str) -> Head:
        try:
            record = json.loads(first)
        except (ValueError, RecursionError):
            return Head("json", ())
        self._check_object(number, record)
        if record and all(isinstance(value, dict) for value in record.values()):
            return Head("json", ())
        return Head("jsonl", tuple(record))

    def text(self) -> str:
        return "\n".join(text for _, text in self.lines())

    def records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Line number and object of every line of a JSONL file; no other line is allowed."""
        for number, text in self.lines():
            try:
                record = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise self.fault(number, f"not JSON: {error}") from None
            self._check_object(number, record)
            yield number, record

    def _check_object(self, number: int, record: object) -> None:
        if not isinstance(record, dict):
            raise self.fault(number, "every line must be a JSON object of keys and values")


def split_csv(line: str) -> list[str]:
    """The fields of one CSV line; a field may be quoted but may not hold a line break."""
    return next(csv.reader([line])) if '"' in line else line.split(",")


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


Dequantise = Literal["none", "uniform"]
ZeroTokens = Literal["one", "drop"]
NO_TOKENS = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Policy:
    """What is done to the rows of a file, in the order of `read_trace`.

    A file of statistics need not make rows outside ``[start_s, end_s)``; ``seed`` draws what it
    leaves open, and the dequantised times.
    """

    start_s: float = 0.0
    end_s: float = np.inf
    dequantise: Dequantise = "none"
    zero_tokens: ZeroTokens = "one"
    max_prompt_tokens: int | None = None
    max_output_tokens: int | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows as the file has them: source order, no policy applied.

    ``arrival_s`` is ``None`` for length-only sets; ``prompt_tokens`` and ``output_tokens`` are
    empty for arrival-only sets. In optional columns NaN (SLOs), 0 (``max_tokens``) and ``None``
    (class) mean that the row states nothing. ``lines`` is the line of each row, for error messages;
    ``notes`` counts what was decided in reading, by name of a field of ``ReadCounts``.
    """

    lines: NDArray[np.int64]
    arrival_s: NDArray[np.float64] | None
    prompt_tokens: NDArray[np.int64] = field(default_factory=lambda: NO_TOKENS)
    output_tokens: NDArray[np.int64] = field(default_factory=lambda: NO_TOKENS)
    service_class: tuple[ServiceClass | None, ...] | None = None
    ttft_slo_s: NDArray[np.float64] | None = None
    tpot_slo_s: NDArray[np.float64] | None = None
    e2e_slo_s: NDArray[np.float64] | None = None
    max_tokens: NDArray[np.int64] | None = None
    prefix_hashes: tuple[tuple[int, ...], ...] | None = None
    hash_block_tokens: int = 16
    notes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Reader:
    """A trace format: the columns or keys that it ``needs``, and what else it must fit."""

    name: str
    title: str
    layout: str
    needs: frozenset[str]
    read: Callable[[Source, Policy], Rows]
    fits: Callable[[Head], bool] = lambda _: True

    def matches(self, head: Head) -> bool:
        return self.layout == head.layout and self.needs <= set(head.keys) and self.fits(head)
