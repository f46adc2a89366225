"""What the package says of its results: lines and tables, as data until somebody prints them."""

import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

WIDE = 240  # letters in a line of a table that no terminal limits


@dataclass(frozen=True)
class Table:
    """Cells of a table as they are shown, the line above it, and lines that a reader must know."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    notes: Sequence[str] = ()


Part = str | Table
"""A line, or a table with its title and notes; one without headings has notes alone."""


class Printed(ABC):
    """What a verb prints: as parts of a text, and as plain data for ``--format json``."""

    @abstractmethod
    def parts(self) -> Iterable[Part]:
        """The lines and tables, from the top."""

    @abstractmethod
    def plain(self) -> object:
        """The same for JSON."""

    @property
    def text(self) -> str:
        """All of it as text."""
        file = io.StringIO()
        show_parts(self.parts(), file)
        return file.getvalue()


Row = Mapping[str, Any]


def records(table: pd.DataFrame) -> list[Row]:
    """The rows of a table."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def number(value: float) -> str:
    """Three digits, or all of a whole part that has more."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def plain_rows(table: pd.DataFrame) -> list[dict[str, object]]:
    """The rows of a table for JSON, where nothing is NaN."""
    rows: list[dict[str, object]] = json.loads(table.to_json(orient="records"))
    return rows


def show_parts(parts: Iterable[Part], file: TextIO) -> None:
    """Lines and tables, these as wide as the terminal, or as needed where there is none."""
    console = Console(file=file, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDE
    for part in parts:
        if isinstance(part, str):
            file.write(f"{part}\n")
            continue
        file.write(f"\n{part.title}\n" if part.title else "")
        if part.headings:
            console.print(_drawn(part))
        file.writelines(f"{line}\n" for line in part.notes)


def _drawn(table: Table) -> RichTable:
    """The table for a console: numbers to the right, text to the left."""
    made = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for n, heading in enumerate(table.headings):
        numeric = all(_is_number(row[n]) for row in table.rows)
        made.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for row in table.rows:
        made.add_row(*row)
    return made


def _is_number(cell: str) -> bool:
    return cell == "-" or cell.replace(",", "").lstrip("-")[:1].isdigit()
