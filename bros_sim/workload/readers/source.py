"""A trace file as text, read line by line; every fault comes with its line."""

import csv
import gzip
import json
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

from bros_sim.core.errors import InputError

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
        """The first four bytes."""
        with self.open_binary() as file:
            return file.read(4)

    def open_binary(self) -> BinaryIO:
        """Open the raw bytes.

        Raises:
            InputError: The file is missing, a folder, or not readable.
        """
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
        """The error for one line."""
        return InputError(f"{self.path}:{line}: {what}")

    def lines(self) -> Generator[tuple[int, str], None, None]:
        """Line number and text of every line that is not blank.

        Raises:
            InputError: The gzip data is damaged or cut short, or a line is not UTF-8.
        """
        number = 0
        try:
            with self._open_plain() as file:
                for raw in file:
                    number += 1
                    text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
                    if text.strip():
                        yield number, text
        except UnicodeDecodeError as error:
            raise self.fault(number, f"not UTF-8 text: {error.reason}") from None
        except (EOFError, zlib.error, OSError) as error:
            raise self.fault(number + 1, f"damaged or truncated gzip data: {error}") from None

    def _open_plain(self) -> BinaryIO:
        if self.magic[:2] != GZIP_MAGIC:
            return self.open_binary()
        return cast(BinaryIO, gzip.open(self.path))

    @cached_property
    def head(self) -> Head:
        """Layout and keys of the file.

        Raises:
            InputError: The file is empty, or starts with something that is no table or JSON.
        """
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
        if _all_numbers(names[:1]):
            return Head("headerless", (), tuple(names))
        return Head("csv", tuple(name.strip() for name in names), tuple(split_csv(second)))

    def _json_head(self, number: int, first: str) -> Head:
        try:
            record = json.loads(first)
        except (ValueError, RecursionError):
            return Head("json", ())
        if not isinstance(record, dict):
            raise self.fault(number, "every line must be a JSON object of keys and values")
        if record and all(isinstance(value, dict) for value in record.values()):
            return Head("json", ())
        return Head("jsonl", tuple(record))

    def text(self) -> str:
        """The whole file."""
        return "\n".join(text for _, text in self.lines())

    def records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Line number and object of every line of a JSONL file.

        Raises:
            InputError: A line is not one JSON object.
        """
        for number, text in self.lines():
            try:
                record = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise self.fault(number, f"not JSON: {error}") from None
            if not isinstance(record, dict):
                raise self.fault(number, "every line must be a JSON object of keys and values")
            yield number, record


def split_csv(line: str) -> list[str]:
    """The fields of one CSV line; a field may be quoted but may not hold a line break."""
    if '"' not in line:
        return line.split(",")
    return next(csv.reader([line]))


def _all_numbers(fields: list[str]) -> bool:
    try:
        return all(isinstance(float(field), float) for field in fields)
    except ValueError:
        return False
