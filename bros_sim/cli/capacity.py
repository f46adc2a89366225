"""``capacity``: the highest load, or the fewest replicas, that keep a target."""

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
from bros_sim.report.terminal import say


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
    from bros_sim.cli.searches import opened, runner
    from bros_sim.metrics.measures import Target
    from bros_sim.report.capacity_tables import evaluated, print_answers, write
    from bros_sim.study.capacity import Question, Variants, find

    targets = [Target.parse(target, "--target")]
    targets += [Target.parse(text, "--and") for text in also or []]
    question = Question(vary, tuple(targets), seeds, precision)
    variants = Variants(read_experiment(experiment, overrides or []), question)
    loaded = variants.at(variants.start)
    store = opened(variants.variation, loaded, out)
    run = runner(store, workers, dask, retry_failed=retry_failed)
    cells = find(variants, store, run, lambda cell, value: say(evaluated(cell, value, vary)))
    folder, answers = write(cells, variants, store)
    if form is Format.JSON:
        rows = json.loads(answers.to_json(orient="records"))
        whole = {"name": loaded.spec.name, "folder": str(folder), "targets": [*map(str, targets)]}
        sys.stdout.write(json.dumps({**whole, "answers": rows}, indent=1) + "\n")
    else:
        print_answers(answers, question)
        say(f"results: {folder}")
    if any(cell.error for cell in cells):
        raise typer.Exit(FAILED)
