"""Results with tables on stdout, as text or as JSON."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from typer import Exit

from bros_sim.cli.options import Format
from bros_sim.cli.verbs import FAILED, say, write
from bros_sim.report.tables import Printed, show_parts


def write_json(content: object) -> None:
    """The result as JSON."""
    write(json.dumps(content, indent=1, default=str))


def show(printed: Printed, form: Format) -> None:
    """The whole of it, in the form that was asked for."""
    if form is Format.JSON:
        write_json(printed.plain())
    else:
        show_parts(printed.parts(), sys.stdout)


def end_search(found: Printed, folder: Path, failures: Sequence[str], form: Format) -> None:
    """What a search found, and where; exit code 1 if something failed on the way."""
    show(found, form)
    if form is Format.TABLE:
        for line in [*failures, f"results: {folder}"]:
            say(line)
    if failures:
        raise Exit(FAILED)
