"""Searches over runs: ``capacity`` and ``tune``."""

from pathlib import Path
from typing import Annotated

from typer import Option

from bros_sim import api
from bros_sim.cli import options
from bros_sim.cli.experiments import Terminal, read_experiment
from bros_sim.cli.printing import end_search
from bros_sim.experiment import load
from bros_sim.study.study import Place

SearchedOption = Annotated[str, Option(
    metavar="PATH", help="The value to search: a load, e.g. `workload.chat.arrivals.rate_rps`, or"
    " a resource, e.g. `cluster.replicas`.",
)]  # fmt: skip
TargetOption = Annotated[str, Option(
    metavar="LIMIT", help="What to keep: `METRIC[CLASS] >= NUMBER`, or `<=` of a latency.",
)]  # fmt: skip
VaryOption = Annotated[list[str], Option(
    metavar="PATH=VALUES", help="What to search: `PATH=LOW..HIGH`, `PATH=LOW..HIGH:log` for equal"
    " ratios, or `PATH=A,B,C`; once for each parameter.",
)]  # fmt: skip
MaximizeOption = Annotated[
    str | None, Option(metavar="MEASURE", help="What to have most of: `METRIC[CLASS]`.")
]
MinimizeOption = Annotated[
    str | None, Option(metavar="MEASURE", help="What to have least of, instead.")
]
LimitOption = Annotated[list[str] | None, Option(
    metavar="LIMIT", help="What to keep: `METRIC[CLASS] >= NUMBER` or `<=`; may be repeated.",
)]  # fmt: skip
SystemOption = Annotated[
    str | None, Option(help="The system to tune. Default: that of the paths, or the only one.")
]


def capacity(
    experiment: options.Experiment,
    vary: SearchedOption,
    target: TargetOption,
    also: Annotated[
        list[str] | None,
        Option("--and", metavar="LIMIT", help="What to keep besides; may be repeated."),
    ] = None,
    overrides: options.Overrides = None,
    seeds: Annotated[int, Option(min=3, max=1000, help="Seeds that the answer rests on.")] = 20,
    precision: Annotated[
        float, Option(min=0.005, max=1.0, help="Values closer than this share are not split.")
    ] = 0.05,
    workers: options.Workers = None,
    dask: options.Dask = None,
    retry_failed: options.Retry = False,
    out: options.Out = Path("results"),
    form: options.Form = options.Format.TABLE,
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
        load(read_experiment(experiment, overrides)), vary, [target, *(also or [])],
        seeds=seeds, precision=precision,
        place=Place(out, workers, dask, retry_failed, watch=Terminal("the same command")),
    )  # fmt: skip
    end_search(found, found.folder, found.failures, form)


def tune(
    experiment: options.Experiment,
    vary: VaryOption,
    maximize: MaximizeOption = None,
    minimize: MinimizeOption = None,
    target: LimitOption = None,
    system: SystemOption = None,
    overrides: options.Overrides = None,
    trials: Annotated[
        int, Option(min=1, max=10_000, help="Combinations to try, besides the given one.")
    ] = 40,
    seeds: Annotated[
        int, Option(min=2, max=1000, help="Seeds that judge a trial, the same for all.")
    ] = 5,
    held_out: Annotated[
        int, Option(min=3, max=1000, help="Further seeds that judge the best one.")
    ] = 10,
    workers: options.Workers = None,
    dask: options.Dask = None,
    retry_failed: options.Retry = False,
    out: options.Out = Path("results"),
    form: options.Form = options.Format.TABLE,
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
        load(read_experiment(experiment, overrides)), vary, maximize=maximize, minimize=minimize,
        targets=target or [], system=system, trials=trials, seeds=seeds, held_out=held_out,
        place=Place(out, workers, dask, retry_failed, watch=Terminal("the same command")),
    )  # fmt: skip
    end_search(found, found.folder, found.failures, form)
