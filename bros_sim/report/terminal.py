"""Results as tables on stdout."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from bros_sim.core.labels import short_names

if TYPE_CHECKING:
    import pandas as pd

    from bros_sim.study.results import ResultSet

WIDE = 240


def print_results(results: "ResultSet") -> None:
    """One row per system, grid point and class, means over the seeds; then what to keep in mind."""
    from bros_sim.report.digest import notes, results_table

    table = results_table(results)
    if table.headings:
        print_table(table.headings, table.rows)
    for line in [*table.note.splitlines(), *notes(results)]:
        sys.stdout.write(f"{line}\n")


def print_capacity(table: "pd.DataFrame") -> None:
    """One row per system and point of the other axes; nothing if there is nothing to say."""
    from bros_sim.report.digest import capacity_table

    if not table.empty:
        made = capacity_table(table)
        title, *rest = made.note.splitlines()
        sys.stdout.write(f"\n{title}\n")
        print_table(made.headings, made.rows)
        for line in rest:
            sys.stdout.write(f"{line}\n")


def print_orders(table: "pd.DataFrame") -> None:
    """Which system has the higher capacity, a row per pair; nothing without draws."""
    from bros_sim.report.digest import text

    if table.empty:
        return
    rest = list(table.columns[: table.columns.get_loc("capacity")])
    rows = []
    for keys, group in table.groupby([*rest, "first", "second"], sort=False, dropna=False):
        cells = (
            f"{row['higher']} ({row['agreeing']} of {row['draws']})" for _, row in group.iterrows()
        )
        rows.append([*map(text, keys[:-2]), " / ".join(map(text, keys[-2:])), *cells])
    sys.stdout.write("\nThe higher capacity, and the draws in the order of the nominal model:\n")
    print_table([*short_names(rest).values(), "systems", *dict.fromkeys(table["capacity"])], rows)


def print_rows(rows: Sequence[Mapping[str, object]]) -> None:
    """Rows of like keys as a table."""
    from bros_sim.report.digest import text

    columns = list(rows[0]) if rows else []
    headings = list(short_names(columns).values())
    print_table(headings, ([text(row[name]) for name in columns] for row in rows))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A plain table: numbers to the right, text to the left, no colours in a pipe."""
    rows = list(rows)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for n, heading in enumerate(headings):
        numeric = all(
            row[n].replace(",", "").lstrip("-")[:1].isdigit() or row[n] == "-" for row in rows
        )
        table.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDE
    console.print(table)


def say(line: str) -> None:
    """One line of diagnostics on stderr."""
    sys.stderr.write(f"{line}\n")
