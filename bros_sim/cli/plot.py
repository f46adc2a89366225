"""``plot``: draw the figures of a finished run (again)."""

from pathlib import Path
from typing import Annotated

import typer

from bros_sim.cli.faults import say


def plot(
    results: Annotated[Path, typer.Argument(help="Folder of a finished run: results/NAME.")],
) -> None:
    """Draw the figures of a finished run again, from its result files.

    Example: `bros-sim plot results/quickstart`
    """
    import json

    from bros_sim.cli.figures import draw_figures, read_figures
    from bros_sim.config import parse
    from bros_sim.store import open_results

    found, experiment = open_results(results)
    document = parse(json.dumps(experiment), str(results / "provenance.json"))
    written = draw_figures(read_figures(document, found.points), found)
    for name in written:
        typer.echo(found.folder / "figures" / name)
    if not document.get(("figures",)):
        say(f"{results}: the experiment names no figures")
