"""``capacity``: the highest load, or the fewest replicas, that keep a target."""

from pathlib import Path
from typing import Annotated

import typer

from bros_sim import api
from bros_sim.cli.experiments import Terminal
from bros_sim.cli.options import (
    DaskOption,
    ExperimentFile,
    Format,
    FormatOption,
    OutOption,
    Overrides,
    RetryOption,
    WorkersOption,
    read_experiment,
)
from bros_sim.cli.printing import end_search
from bros_sim.experiment import load
from bros_sim.study.study import Place


def capacity(
    experiment: ExperimentFile,
    vary: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            help="The value to search: a load, e.g. `workload.chat.arrivals.rate_rps`, or a"
            " resource, e.g. `cluster.replicas`.",
        ),
    ],
    target: Annotated[
        str,
        typer.Option(
            metavar="LIMIT", help="What to keep: `METRIC[CLASS] >= NUMBER`, or `<=` of a latency."
        ),
    ],
    also: Annotated[
        list[str] | None,
        typer.Option("--and", metavar="LIMIT", help="What to keep besides; may be repeated."),
    ] = None,
    overrides: Overrides = None,
    seeds: Annotated[
        int, typer.Option(min=3, max=1000, help="Seeds that the answer rests on.")
    ] = 20,
    precision: Annotated[
        float,
        typer.Option(min=0.005, max=1.0, help="Values closer than this share are not split."),
    ] = 0.05,
    workers: WorkersOption = None,
    dask: DaskOption = None,
    retry_failed: RetryOption = False,
    out: OutOption = Path("results"),
    form: FormatOption = Format.TABLE,
) -> None:
    """Find the highest load that keeps a target, or the fewest replicas, with its interval.

    For every system (and every point of the axes that the experiment sweeps besides). From the
    value in the file it doubles or halves to one that keeps the target and one that misses it,
    then halves the gap; each value is judged by its 95 % interval over 5 seeds, and by more where
    that leaves it undecided. All runs go to the results folder: the same command again resumes.

    `cluster.replicas`, `num_gpu_blocks` and SLO limits are searched for the least that will do,
    everything else for the most.

    Examples:
    `bros-sim capacity exp.yaml --vary workload.chat.arrivals.rate_rps
    --target "slo_attainment[rt] >= 0.99" --and "be_retention >= 0.5"`

    `bros-sim capacity exp.yaml --vary cluster.replicas --target "p99_ttft_ms[rt] <= 800"`
    """
    found = api.capacity(
        load(read_experiment(experiment, overrides)),
        vary,
        [target, *(also or [])],
        seeds=seeds,
        precision=precision,
        place=Place(out, workers, dask, retry_failed, watch=Terminal("the same command")),
    )
    end_search(found, found.folder, found.failures, form)
