"""``list``: what an experiment can be made of."""

from typing import Annotated

import typer

from bros_sim.cli.options import Format, FormatOption
from bros_sim.cli.printing import show
from bros_sim.report.listing import What, listing


def list_kinds(
    what: Annotated[What | None, typer.Argument(help="What to list; all of it by default.")] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List what an experiment can be made of: kinds, their parameters, defaults and meaning.

    Example: `bros-sim list schedulers`
    """
    show(listing(what), form)
