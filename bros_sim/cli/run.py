"""``run``: from an experiment file to tables, result files and figures."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from bros_sim.cli.experiments import counted, engine, load_experiment, run_missing
from bros_sim.cli.options import (
    DaskOption,
    ExperimentFile,
    Format,
    FormatOption,
    OutOption,
    Overrides,
    RetryOption,
    WorkersOption,
)
from bros_sim.cli.output import say, write_json
from bros_sim.cli.printing import show, show_parts
from bros_sim.cli.verbs import FAILED
from bros_sim.experiment import Loaded, Point
from bros_sim.report.figure_files import draw_figures
from bros_sim.report.text_tables import RunResults, rows_table
from bros_sim.study.collect import collect
from bros_sim.study.sequential import add_seeds, too_wide
from bros_sim.study.store import Store


def run(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    workers: WorkersOption = None,
    dask: DaskOption = None,
    out: OutOption = Path("results"),
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="List the points and whether they are there (json: with every default); run none.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Run points again that are already there.")
    ] = False,
    retry_failed: RetryOption = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Run every point of an experiment (systems x grid x seeds) and print what came out.

    Points that are already in the results folder are not run again, so the same command resumes
    an interrupted sweep; those that failed run again with `--retry-failed`. The figures that the
    experiment names are drawn at the end.

    Examples:
    `bros-sim run experiments/quickstart.yaml`

    `bros-sim run exp.yaml --set seed=3 --set cluster.replicas=4 --workers 8`
    """
    loaded, figures = load_experiment(experiment, overrides)
    store = Store(out / loaded.spec.name, decisions=loaded.spec.outputs.decisions)
    if dry_run:
        _list_points(loaded, store, form)
        return
    store.open()
    runner = engine(workers, dask, store)

    def run_them(points: Sequence[Point]) -> dict[str, str]:
        for point in points if overwrite else ():
            store.remove(point.key)
        again, retry = f"bros-sim run {experiment}", retry_failed or overwrite
        return run_missing(points, store, runner, again, retry_failed=retry)

    loaded, errors = add_seeds(loaded, store, run_them, _say_more)
    for interval in too_wide(loaded, store, errors):
        say(f"warning: {interval.words}")
    results, capacity = collect(loaded, store, errors)
    for line in [*draw_figures(figures, results).warnings, *_failures(loaded, errors)]:
        say(line)
    show(RunResults(results, capacity.rates, capacity.orders), form)
    if form is Format.TABLE:
        say(f"results: {results.folder}")
    if errors:
        raise typer.Exit(FAILED)


def _say_more(places: int, runs: int) -> None:
    where = counted(places, "point") + " of the grid"
    say(f"wider than sweep.until asks at {where}: {counted(runs, 'run')} with more seeds")


def _failures(loaded: Loaded, errors: Mapping[str, str]) -> Iterator[str]:
    baselines = {point.key: point for point in loaded.alone.values()}.values()
    for what, points in (
        ("failed", [*loaded.points, *loaded.drawn]),
        ("failed, BE-only baseline", baselines),
    ):
        for point in points:
            if point.key in errors:
                labels = ", ".join(f"{name}={value}" for name, value in point.labels.items())
                yield f"{what}: {labels}: {errors[point.key]}"


def _list_points(loaded: Loaded, store: Store, form: Format) -> None:
    points, rows = [*loaded.points, *loaded.drawn], []
    nominal = {"draw": 0} if loaded.drawn else {}
    for point in points:
        rows.append(
            {
                **point.labels,
                **nominal,
                **point.labels,
                "key": point.key,
                "state": store.state(point.key),
            }
        )
        if loaded.alone:
            alone = loaded.alone.get(point.key)
            rows[-1]["be_alone"] = store.state(alone.key) if alone else "no BE"
    if form is Format.JSON:
        full = [{**row, "resolved": one.plain} for row, one in zip(rows, points, strict=True)]
        write_json({"folder": str(store.folder), "points": full})
    else:
        show_parts([rows_table([{**row, "key": str(row["key"])[:12]} for row in rows])])
