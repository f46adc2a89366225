"""`bros-sim conformance`: baselines against decision logs of the real engines."""

from pathlib import Path
from typing import Annotated

import typer

from bros_sim.cli.output import write
from bros_sim.cli.verbs import FAILED
from bros_sim.validation.conformance import compare, find_logs


def vllm(
    logs: Annotated[Path, typer.Argument(help="A folder of decision logs, or one log.")],
) -> None:
    """Compare the vLLM V1 scheduler with decision logs recorded from the real one.

    Prints a line for each log that differs, with the first differing step and field, and ends
    with `N/N identical`; exit code 1 if any differs.

    Example: bros-sim conformance vllm tests/data/vllm_decisions
    """
    paths = find_logs(logs)
    identical = 0
    for path in paths:
        difference = compare(path)
        if difference is None:
            identical += 1
        else:
            write(f"{path.name}: {difference}")
    write(f"{identical}/{len(paths)} identical")
    if identical < len(paths):
        raise typer.Exit(FAILED)
