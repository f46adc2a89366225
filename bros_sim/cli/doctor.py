"""``doctor``: what is installed, what is not, and what is lost without it."""

import typer

from bros_sim.cli.output import write
from bros_sim.cli.verbs import FAILED
from bros_sim.report.installation import installation


def doctor() -> None:
    """Say what is installed and what is not; code 1 if something that is needed is missing.

    Example: `bros-sim doctor`
    """
    lines, complete = installation()
    write("\n".join(lines))
    if not complete:
        raise typer.Exit(FAILED)
