"""Results with tables on stdout, as text or as JSON."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import typer
from rich.console import Console

from bros_sim.cli.options import Format
from bros_sim.cli.output import say, write, write_json
from bros_sim.cli.verbs import FAILED
from bros_sim.report.tables import WIDE, Part, Printed, drawn


def show(printed: Printed, form: Format) -> None:
    """The whole of it, in the form that was asked for."""
    if form is Format.JSON:
        write_json(printed.plain())
    else:
        show_parts(printed.parts())


def end_search(found: Printed, folder: Path, failures: Sequence[str], form: Format) -> None:
    """What a search found, and where; exit code 1 if something failed on the way."""
    show(found, form)
    if form is Format.TABLE:
        for line in [*failures, f"results: {folder}"]:
            say(line)
    if failures:
        raise typer.Exit(FAILED)


def show_parts(parts: Iterable[Part]) -> None:
    """Lines and tables, these as wide as the terminal, or as needed where there is none."""
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDE
    for part in parts:
        if isinstance(part, str):
            write(part)
        else:
            console.print(drawn(part))
