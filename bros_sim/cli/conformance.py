"""`bros-sim conformance`: baselines against decision logs of the real engines."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Replay decision logs of real engines and compare every decision.", no_args_is_help=True
)


@app.callback()
def _verbs() -> None:
    """Replay decision logs of real engines and compare every decision."""


@app.command()
def vllm(
    logs: Annotated[Path, typer.Argument(help="A folder of decision logs, or one log.")],
) -> None:
    """Compare the vLLM V1 scheduler with decision logs recorded from the real one.

    Prints a line for each log that differs, with the first differing step and field, and ends
    with `N/N identical`; exit code 1 if any differs.

    Example: bros-sim conformance vllm tests/data/vllm_decisions
    """
    from bros_sim.validation.conformance import compare, find_logs

    paths = find_logs(logs)
    identical = 0
    for path in paths:
        difference = compare(path)
        if difference is None:
            identical += 1
        else:
            typer.echo(f"{path.name}: {difference}")
    typer.echo(f"{identical}/{len(paths)} identical")
    if identical < len(paths):
        raise typer.Exit(1)
