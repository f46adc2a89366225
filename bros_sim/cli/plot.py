"""``plot``: draw figures of a finished run: those of its experiment, or any other."""

from typing import Annotated

import typer

from bros_sim import api
from bros_sim.cli.options import ResultsFolder
from bros_sim.cli.output import say, write


def plot(
    results: ResultsFolder,
    figure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="YAML",
            help="Draw this instead, beside what is there; an entry of `figures`; may be repeated.",
        ),
    ] = None,
) -> None:
    """Draw the figures of a finished run again, or any other figure, from its result files.

    What a figure may show: `bros-sim list plots`.

    Examples: `bros-sim plot results/quickstart`

    `bros-sim plot results/quickstart --figure "{plot: latency_cdf, metric: tpot}"`
    """
    drawn = api.plot(results, *(figure or []))
    for line in drawn.warnings:
        say(line)
    for path in drawn.files:
        write(str(path))
    if not (drawn.files or drawn.warnings):
        say(f"{results}: the experiment names no figures; draw one with --figure")
