"""The simulator against real engines: their runs, and the decisions of their schedulers."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from bros_sim.cli import options
from bros_sim.cli.printing import show
from bros_sim.cli.verbs import FAILED, say, write
from bros_sim.report import validated
from bros_sim.validation import conformance
from bros_sim.validation.replay import REPLAYED, Setup


def validate(
    requests: Annotated[
        Path, Argument(metavar="REQUESTS", help="CSV file of a real run's requests.")
    ],
    profile: Annotated[
        str, Option(metavar="PROFILE", help="Id of a shipped profile, or a YAML file.")
    ],
    engine_args: Annotated[
        Path, Option(metavar="META", help="JSON file with the engine's arguments.")
    ],
    max_concurrency: Annotated[
        int | None, Option(min=1, help="Most requests that the client keeps in flight.")
    ] = None,
    replicas: Annotated[int | None, Option(min=1, help="Equal servers behind one address.")] = None,
    router: Annotated[
        str, Option(help="Spreads requests: round_robin, random or least_loaded.")
    ] = REPLAYED[0],
    form: options.Form = options.Format.TABLE,
    out: Annotated[
        Path | None, Option(metavar="DIR", help="Write validation.png and .svg there.")
    ] = None,
) -> None:
    """Replay a real vLLM run and compare: TTFT, TPOT, E2E, throughput, single requests.

    TTFT and E2E start when the engine takes a request in (column `queued_s`; `arrival_s` where a
    run does not have it).

    Example: `bros-sim validate run.csv --profile rtx4090/llama-3.1-8b-tp1 --engine-args meta.json`
    """
    setup = Setup(max_concurrency, replicas, router)
    found = validated.validate(requests, profile, engine_args, setup)
    for note in found.notes:
        say(note)
    if out is not None:
        found.write_figure(out)
    show(found, form)


def vllm(logs: Annotated[Path, Argument(help="A folder of decision logs, or one log.")]) -> None:
    """Compare the vLLM V1 scheduler with decision logs recorded from the real one.

    Prints a line for each log that differs, with the first differing step and field, and ends
    with `N/N identical`; exit code 1 if any differs.

    Example: bros-sim conformance vllm tests/data/vllm_decisions
    """
    paths = conformance.find_logs(logs)
    identical = 0
    for path in paths:
        difference = conformance.compare(path)
        if difference is None:
            identical += 1
        else:
            write(f"{path.name}: {difference}")
    write(f"{identical}/{len(paths)} identical")
    if identical < len(paths):
        raise Exit(FAILED)
