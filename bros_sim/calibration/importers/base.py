"""Result files as read from disk, and what an importer makes of the files of its format."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bros_sim.calibration.files import parse_json, read_text
from bros_sim.calibration.models import ModelConfig
from bros_sim.calibration.step_rows import StepRow
from bros_sim.core.errors import InputError


@dataclass(frozen=True)
class Record:
    """One JSON value or one CSV row; ``place`` is the file, and the line if there are several."""

    place: str
    data: Any


@dataclass(frozen=True)
class Content:
    """A file. ``header`` holds the column names of a CSV file and is empty for JSON."""

    path: Path
    records: tuple[Record, ...]
    header: tuple[str, ...] = ()

    @property
    def first(self) -> Any:  # noqa: ANN401 - whatever the file holds
        """The first record, by which a format is recognised; ``None`` for CSV without rows."""
        return self.records[0].data if self.records else None

    def has(self, *keys: str) -> bool:
        """Whether the first record is an object with these keys."""
        return isinstance(self.first, dict) and all(key in self.first for key in keys)

    def lists(self, *keys: str) -> bool:
        """Whether the first record is a list that begins with an object with these keys."""
        if not isinstance(self.first, list) or not self.first:
            return False
        return isinstance(self.first[0], dict) and set(keys) <= set(self.first[0])


@dataclass(frozen=True)
class Options:
    """What some formats leave out and the user must say; ``None`` where it was not said."""

    model: ModelConfig | None = None
    tp: int = 1
    batch_size: int | None = None
    input_len: int | None = None
    output_lens: tuple[int, ...] = ()
    max_num_batched_tokens: int = 8192


@dataclass(frozen=True)
class Steps:
    """Measured iterations; ``notes`` say what was left out and what the times do not hold."""

    rows: tuple[StepRow, ...]
    notes: tuple[str, ...] = ()


class RequestRow(NamedTuple):
    """A completed request of a real run, a row of the table that ``bros-sim validate`` replays.

    Times are seconds on the client's clock, from the first request that was sent. What no client
    can know (when the engine queued and scheduled the request, its prefix hashes) has no column.
    """

    request_id: str
    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    first_token_s: float
    last_token_s: float


@dataclass(frozen=True)
class Run:
    """The requests of one benchmark run. ``failed`` ones are counted, and have no row."""

    label: str
    rows: tuple[RequestRow, ...]
    failed: int = 0
    notes: tuple[str, ...] = ()


Runs = tuple[Run, ...]  # all the runs that files hold, in their order


@dataclass(frozen=True)
class Format:
    """One format. ``read`` gets all files of the format at once: some belong together."""

    name: str
    title: str
    fits: Callable[[Content], bool]
    read: Callable[[Sequence[Content], Options], Steps | Runs]


def read_content(path: Path) -> Content:
    """Read a file, gzip or plain, by what is in it; `InputError` if it is neither JSON nor CSV."""
    text = read_text(path)
    if not text.strip():
        raise InputError(f"{path}: the file is empty")
    return _json(text, path) if text.lstrip()[0] in "{[" else _csv(text, path)


def _json(text: str, path: Path) -> Content:
    try:
        return Content(path, (Record(str(path), json.loads(text)),))
    except (ValueError, RecursionError):
        lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    try:
        json.loads(lines[0][1])
    except (ValueError, RecursionError):
        parse_json(text, path)  # raises, with the place in the whole text
    records = (Record(f"{path}:{n}", parse_json(line, path, n)) for n, line in lines)
    return Content(path, tuple(records))


def _csv(text: str, path: Path) -> Content:
    reader = csv.reader(text.splitlines())
    try:
        (_, first), *rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: not a table: {error}") from None
    header = tuple(name.strip() for name in first)
    records = []
    for line, row in rows:
        if len(row) != len(header):
            what = f"has {len(row)} columns where the header has {len(header)}"
            raise InputError(f"{path}:{line}: {what}")
        records.append(Record(f"{path}:{line}", dict(zip(header, row, strict=True))))
    return Content(path, tuple(records), header)
