"""``validate``: a real engine's run against its replay in the simulator."""

from pathlib import Path
from typing import Annotated

import typer

from bros_sim import api
from bros_sim.cli.options import Format, FormatOption
from bros_sim.cli.output import say
from bros_sim.cli.printing import show
from bros_sim.validation.replay import REPLAYED, Setup


def validate(
    requests: Annotated[
        Path, typer.Argument(metavar="REQUESTS", help="CSV file of a real run's requests.")
    ],
    profile: Annotated[
        str, typer.Option(metavar="PROFILE", help="Id of a shipped profile, or a YAML file.")
    ],
    engine_args: Annotated[
        Path, typer.Option(metavar="META", help="JSON file with the engine's arguments.")
    ],
    max_concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Most requests that the client keeps in flight, as it was run."),
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(min=1, help="Equal servers behind one address.")
    ] = None,
    router: Annotated[
        str, typer.Option(help="Spreads requests: round_robin, random or least_loaded.")
    ] = REPLAYED[0],
    form: FormatOption = Format.TABLE,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write validation.png and .svg there.")
    ] = None,
) -> None:
    """Replay a real vLLM run and compare: TTFT, TPOT, E2E, throughput, single requests.

    TTFT and E2E start when the engine takes a request in (column `queued_s`; `arrival_s` where a
    run does not have it).

    Example: `bros-sim validate run.csv --profile rtx4090/llama-3.1-8b-tp1 --engine-args meta.json`
    """
    found = api.validate(requests, profile, engine_args, Setup(max_concurrency, replicas, router))
    for note in found.notes:
        say(note)
    if out is not None:
        found.write_figure(out)
    show(found, form)
