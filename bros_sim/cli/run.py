"""``run`` and ``check``: from an experiment file to tables, result files and figures."""

import json
import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bros_sim.cli.errors import FAILED, INTERRUPTED
from bros_sim.core.errors import InputError
from bros_sim.report.terminal import say

if TYPE_CHECKING:
    from bros_sim.config import Document
    from bros_sim.experiment import Loaded, Point
    from bros_sim.plots import FigureSpec
    from bros_sim.study.collect import Capacity
    from bros_sim.study.results import ResultSet
    from bros_sim.study.runner import Engine
    from bros_sim.study.store import Store


class Format(StrEnum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"


ExperimentFile = Annotated[Path, typer.Argument(help="The experiment: a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change a value of the experiment, e.g. `--set workload.chat.slo.ttft_s=0.5`.",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=1, max=1024, help="Processes; 1 runs in this one. Default: one for each core."
    ),
]
DaskOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Run on the Dask cluster whose scheduler is there, e.g. `tcp://10.0.0.7:8786`;"
        " needs `pip install 'bros-sim[cluster]'`.",
    ),
]
RetryOption = Annotated[
    bool, typer.Option("--retry-failed", help="Run points again that failed before.")
]
OutOption = Annotated[Path, typer.Option(help="Results go to OUT/NAME, by the name in the file.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print the results.")]


def check(experiment: ExperimentFile, overrides: Overrides = None) -> None:
    """Check an experiment file: every fault as `file:line:column: path: what is wrong`.

    Example: `bros-sim check experiments/quickstart.yaml`
    """
    loaded, _ = _load(experiment, overrides or [])
    points = _count(len(loaded.points), "point")
    if loaded.drawn:
        points += f" and {len(loaded.drawn)} of draws"
    if until := loaded.spec.sweep.until:
        points += f", more seeds where intervals are wide, up to {until.max_seeds}"
    sys.stdout.write(f"{experiment}: {loaded.spec.name}: {points}, no faults\n")


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
    from bros_sim.cli.figures import draw_figures
    from bros_sim.study.collect import collect
    from bros_sim.study.sequential import add_seeds, too_wide
    from bros_sim.study.store import Store

    loaded, figures = _load(experiment, overrides or [])
    store = Store(out / loaded.spec.name, decisions=loaded.spec.outputs.decisions)
    if dry_run:
        _list_points(loaded, store, form)
        return
    store.open()
    runner = engine(workers, dask, store)

    def run_them(points: "Sequence[Point]") -> dict[str, str]:
        for point in points if overwrite else ():
            store.remove(point.key)
        again, retry = f"bros-sim run {experiment}", retry_failed or overwrite
        return run_missing(points, store, runner, again, retry_failed=retry)

    loaded, errors = add_seeds(loaded, store, run_them, _say_more)
    for interval in too_wide(loaded, store, errors):
        say(f"warning: {interval.words}")
    results, capacity = collect(loaded, store, errors)
    draw_figures(figures, results)
    _print(loaded, results, capacity, errors, form)
    if errors:
        raise typer.Exit(FAILED)


def _load(path: Path, overrides: list[str]) -> "tuple[Loaded, list[FigureSpec]]":
    from bros_sim.cli.figures import read_figures
    from bros_sim.experiment import load

    document = read_experiment(path, overrides)
    loaded = load(document)
    figures = read_figures(document, loaded.points)
    for line in loaded.warnings:
        say(f"warning: {line}")
    return loaded, figures


def read_experiment(path: Path, overrides: list[str]) -> "Document":
    """The file with what ``--set`` changes.

    Raises:
        InputError: It cannot be read, or an assignment names nothing.
    """
    from bros_sim.config import override, read_yaml

    document = read_yaml(path)
    for assignment in overrides:
        document = override(document, assignment)
    return document


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _say_more(places: int, runs: int) -> None:
    where = _count(places, "point") + " of the grid"
    say(f"wider than sweep.until asks at {where}: {_count(runs, 'run')} with more seeds")


def _list_points(loaded: "Loaded", store: "Store", form: Format) -> None:
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
        sys.stdout.write(json.dumps({"folder": str(store.folder), "points": full}, indent=1) + "\n")
        return
    from bros_sim.report.terminal import print_rows

    print_rows([{**row, "key": str(row["key"])[:12]} for row in rows])


def engine(workers: int | None, dask: str | None, store: "Store") -> "Engine":
    """Who runs the points: local processes, or the workers of a Dask cluster."""
    from bros_sim.study.runner import LocalWorkers

    if dask is None:
        return LocalWorkers(workers or _cores())
    if workers is not None:
        raise InputError("--workers: the Dask cluster of --dask has its own")
    try:
        from bros_sim.study.dask_cluster import DaskCluster
    except ModuleNotFoundError as error:
        raise InputError(f"--dask: {error}: pip install 'bros-sim[cluster]'") from None
    return DaskCluster(dask, store.folder.resolve())


def run_missing(
    points: "Sequence[Point]",
    store: "Store",
    engine: "Engine",
    again: str,
    *,
    retry_failed: bool = False,
) -> dict[str, str]:
    """Run what is missing; key -> error of the points that failed, now or before.

    ``again`` is the command that resumes.
    """
    from bros_sim.cli.progress import Progress
    from bros_sim.study.runner import pending, run_points

    there = pending(points, store, retry_failed=retry_failed)
    for line in there.damaged:
        say(line)
    if there.complete:
        say(f"{_count(there.complete, 'point')} already in {store.folder}")
    if there.failed:
        say(f"{_count(len(there.failed), 'point')} failed before: --retry-failed runs them again")
    try:
        with Progress(len(there.todo)) as progress:
            outcomes = run_points(there.todo, store, engine, progress.advance)
    except KeyboardInterrupt:
        say(f"interrupted; the points that ended are kept, resume with: {again}")
        raise typer.Exit(INTERRUPTED) from None
    failed = {key: outcome.error for key, outcome in outcomes.items() if outcome.error}
    return there.failed | failed


def _print(
    loaded: "Loaded",
    results: "ResultSet",
    capacity: "Capacity",
    errors: dict[str, str],
    form: Format,
) -> None:
    from bros_sim.report.terminal import print_capacity, print_orders, print_results

    alone = {point.key: point for point in loaded.alone.values()}
    for what, points in (
        ("failed", [*loaded.points, *loaded.drawn]),
        ("failed, BE alone", alone.values()),
    ):
        for point in points:
            if point.key in errors:
                labels = ", ".join(f"{name}={value}" for name, value in point.labels.items())
                say(f"{what}: {labels}: {errors[point.key]}")
    if form is Format.JSON:
        tables = {"rows": results.summary(), "capacity": capacity.rates}
        tables |= {"order": capacity.orders} if results.drawn else {}
        content = {key: json.loads(t.to_json(orient="records")) for key, t in tables.items()}
        whole = {"name": results.name, "folder": str(results.folder), **content}
        sys.stdout.write(json.dumps(whole, indent=1) + "\n")
        return
    print_results(results)
    print_capacity(capacity.rates)
    print_orders(capacity.orders)
    say(f"results: {results.folder}")
