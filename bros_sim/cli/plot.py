"""``plot``: draw figures of a finished run: those of its experiment, or any other."""

import json
from typing import Annotated

import typer

from bros_sim.cli.options import ResultsFolder
from bros_sim.cli.output import say, write
from bros_sim.config import parse
from bros_sim.report.figure_files import draw_figures, given_figures, read_figures
from bros_sim.study.store import open_results


def plot(
    results: ResultsFolder,
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
    found, experiment = open_results(results)
    if figure:
        specs = given_figures(figure, found.points)
    else:
        document = parse(json.dumps(experiment), str(results / "provenance.json"))
        specs = read_figures(document, found.points)
    drawn = draw_figures(specs, found, keep=bool(figure))
    for line in drawn.warnings:
        say(line)
    for path in drawn.files:
        write(str(path))
    if not specs:
        say(f"{results}: the experiment names no figures; draw one with --figure")
