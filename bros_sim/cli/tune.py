"""``tune``: the parameters with which a system does best, within limits."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from bros_sim.cli.errors import FAILED
from bros_sim.cli.run import (
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
from bros_sim.core.errors import InputError
from bros_sim.report.terminal import say

EXTRA = "tune needs the extra: pip install 'bros-sim[opt]'"


def tune(
    experiment: ExperimentFile,
    vary: Annotated[
        list[str],
        typer.Option(
            metavar="PATH=VALUES",
            help="What to search: `PATH=LOW..HIGH`, `PATH=LOW..HIGH:log` for equal ratios, or"
            " `PATH=A,B,C`; once for each parameter.",
        ),
    ],
    maximize: Annotated[
        str | None, typer.Option(metavar="MEASURE", help="What to have most of: `METRIC[CLASS]`.")
    ] = None,
    minimize: Annotated[
        str | None, typer.Option(metavar="MEASURE", help="What to have least of, instead.")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LIMIT",
            help="What to keep: `METRIC[CLASS] >= NUMBER` or `<=`; may be repeated.",
        ),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(help="The system to tune. Default: that of the paths, or the only one."),
    ] = None,
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
    try:
        from bros_sim.study.tuning import Aim, Setting, find, read_parameter
    except ModuleNotFoundError as error:
        raise InputError(f"{EXTRA} ({error})") from None
    from bros_sim.cli.searches import opened, runner
    from bros_sim.metrics.measures import Measure, Target
    from bros_sim.report.tune_tables import judged, print_answer, write

    if (maximize is None) == (minimize is None):
        raise InputError("tune: say one of --maximize MEASURE and --minimize MEASURE")
    option = "--minimize" if maximize is None else "--maximize"
    objective = Measure.parse(minimize or maximize or "", option)
    limits = tuple(Target.parse(text, "--target") for text in target or [])
    aim = Aim(objective, maximize is not None, limits, trials, seeds, held_out)
    space = [read_parameter(text) for text in vary]
    setting = Setting(read_experiment(experiment, overrides or []), space, aim.measures, system)
    store = opened(setting.variation, setting.loaded, out)
    run = runner(store, workers, dask, retry_failed=retry_failed)
    tuned = find(setting, aim, store, run, lambda trial: say(judged(trial)))
    folder, found = write(tuned, setting, aim, store)
    if form is Format.JSON:
        rows = json.loads(found.to_json(orient="records"))
        best = {"trial": tuned.best.number, "values": dict(tuned.best.values)}
        whole = {"name": setting.loaded.spec.name, "folder": str(folder), "best": best}
        sys.stdout.write(json.dumps({**whole, "answers": rows}, indent=1) + "\n")
    else:
        print_answer(tuned, setting, found)
        say(f"results: {folder}")
    if any(trial.error for trial in tuned.judged):
        raise typer.Exit(FAILED)
