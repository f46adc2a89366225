"""``tune``: the parameters with which a system does best, within limits."""

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

VaryOption = Annotated[
    list[str],
    typer.Option(
        metavar="PATH=VALUES",
        help="What to search: `PATH=LOW..HIGH`, `PATH=LOW..HIGH:log` for equal ratios, or"
        " `PATH=A,B,C`; once for each parameter.",
    ),
]
MaximizeOption = Annotated[
    str | None, typer.Option(metavar="MEASURE", help="What to have most of: `METRIC[CLASS]`.")
]
MinimizeOption = Annotated[
    str | None, typer.Option(metavar="MEASURE", help="What to have least of, instead.")
]
LimitOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="LIMIT",
        help="What to keep: `METRIC[CLASS] >= NUMBER` or `<=`; may be repeated.",
    ),
]
SystemOption = Annotated[
    str | None,
    typer.Option(help="The system to tune. Default: that of the paths, or the only one."),
]


def tune(
    experiment: ExperimentFile,
    vary: VaryOption,
    maximize: MaximizeOption = None,
    minimize: MinimizeOption = None,
    target: LimitOption = None,
    system: SystemOption = None,
    overrides: Overrides = None,
    trials: Annotated[
        int, typer.Option(min=1, max=10_000, help="Combinations to try, besides the given one.")
    ] = 40,
    seeds: Annotated[
        int, typer.Option(min=2, max=1000, help="Seeds that judge a trial, the same for all.")
    ] = 5,
    held_out: Annotated[
        int, typer.Option(min=3, max=1000, help="Further seeds that judge the best one.")
    ] = 10,
    workers: WorkersOption = None,
    dask: DaskOption = None,
    retry_failed: RetryOption = False,
    out: OutOption = Path("results"),
    form: FormatOption = Format.TABLE,
) -> None:
    """Search the parameters of a system that give most (or least) of a measure, within limits.

    Tries combinations (Optuna's TPE; all of them if there are no more than `--trials`), each over
    the same seeds. The best by its means is then run on seeds that the search did not see, beside
    the experiment as given: only that comparison is put in words. All runs go to the results
    folder: the same command again resumes, and more `--trials` go on from fewer. Needs the extra
    `opt`.

    Examples:
    `bros-sim tune exp.yaml --vary systems.BROS.scheduler.batch_cap=32..512:log
    --vary systems.BROS.scheduler.late_policy=serve_first,demote
    --maximize "output_throughput[be]" --target "slo_attainment[rt] >= 0.9"`

    `bros-sim tune exp.yaml --vary systems.vLLM.scheduler.max_num_batched_tokens=256..8192
    --minimize "p99_ttft_ms[rt]" --trials 20`
    """
    found = api.tune(
        load(read_experiment(experiment, overrides)),
        vary,
        maximize=maximize,
        minimize=minimize,
        targets=target or [],
        system=system,
        trials=trials,
        seeds=seeds,
        held_out=held_out,
        place=Place(out, workers, dask, retry_failed, watch=Terminal("the same command")),
    )
    end_search(found, found.folder, found.failures, form)
