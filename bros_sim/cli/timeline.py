"""``timeline``: one run as a Chrome trace, for Perfetto."""

from typing import Annotated

import typer

from bros_sim.cli.options import PointOption, ResultsFolder
from bros_sim.cli.output import say, write
from bros_sim.report.timelines import write_timeline
from bros_sim.study.store import open_results


def timeline(
    results: ResultsFolder,
    point: PointOption = None,
    window: Annotated[
        str | None,
        typer.Option(metavar="A:B", help="Only these seconds, e.g. `10:20`, `10:` or `:20`."),
    ] = None,
) -> None:
    """Write one run as a Chrome trace (`timelines/*.json.gz`); open it at ui.perfetto.dev.

    A process for each replica: its iterations (prefill, decode, mixed), KV copies, running and
    waiting requests and KV tokens by class, and a span for each request (queue, prefill, decode).
    A file that would be too large ends early, and a message says where.

    Example: `bros-sim timeline results/quickstart --point 1 --window 60:70`
    """
    made = write_timeline(open_results(results)[0], point, window)
    for note in made.notes:
        say(note)
    write(str(made.file))
