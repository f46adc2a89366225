"""``plot``: draw figures of a finished run: those of its experiment, or any other."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bros_sim.report.terminal import say

if TYPE_CHECKING:
    from bros_sim.plots import FigureSpec
    from bros_sim.study.results import ResultSet


def plot(
    results: Annotated[Path, typer.Argument(help="Folder of a finished run: results/NAME.")],
    figure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="YAML",
            help="Draw this instead, beside what is there; as an entry of `figures`, and often.",
        ),
    ] = None,
) -> None:
    """Draw the figures of a finished run again, or any other figure, from its result files.

    What a figure may show: `bros-sim list plots`.

    Examples: `bros-sim plot results/quickstart`

    `bros-sim plot results/quickstart --figure "{plot: latency_cdf, metric: tpot}"`
    """
    import json

    from bros_sim.cli.figures import draw_figures, read_figures
    from bros_sim.config import parse
    from bros_sim.study.store import open_results

    found, experiment = open_results(results)
    if figure:
        specs = _given(figure, found)
    else:
        document = parse(json.dumps(experiment), str(results / "provenance.json"))
        specs = read_figures(document, found.points)
    for name in draw_figures(specs, found, keep=bool(figure)):
        typer.echo(found.folder / "figures" / name)
    if not specs:
        say(f"{results}: the experiment names no figures; draw one with --figure")


def _given(figures: list[str], found: "ResultSet") -> "list[FigureSpec]":
    """The figures of the command line.

    Raises:
        InputError: With every fault of every one.
    """
    from bros_sim.cli.figures import read_figures
    from bros_sim.config import parse
    from bros_sim.core.errors import InputError

    specs, faults = [], []
    for text in figures:
        try:
            specs += read_figures(parse(f"figures: [{text}]", "--figure"), found.points)
        except InputError as error:
            faults += list(error.faults)
    if faults:
        raise InputError(*faults)
    return specs
