"""``explain``: one request's story, from the decision log of a finished run."""

from typing import Annotated

import typer

from bros_sim import api
from bros_sim.cli.options import Format, FormatOption, PointOption, ResultsFolder
from bros_sim.cli.printing import show


def explain(
    results: ResultsFolder,
    request: Annotated[
        str, typer.Option(help="Id of the request: STREAM-NUMBER, as in requests.parquet.")
    ],
    point: PointOption = None,
    system: Annotated[str | None, typer.Option(help="Only points of this system.")] = None,
    seed: Annotated[int | None, typer.Option(help="Only points with this seed.")] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Tell what happened to one request, and why: from a run with `outputs: {decisions: true}`.

    Example: `bros-sim explain results/quickstart --request chat-17 --system "vLLM FCFS" --seed 0`
    """
    show(api.explain(results, request, point=point, system=system, seed=seed), form)
