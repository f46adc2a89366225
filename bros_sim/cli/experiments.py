"""How the verbs that run points start: from a file to its points, their store and workers."""

import os
from collections.abc import Sequence
from pathlib import Path

import typer

from bros_sim.cli.options import read_experiment
from bros_sim.cli.output import say
from bros_sim.cli.progress import Progress
from bros_sim.cli.verbs import INTERRUPTED
from bros_sim.core.errors import InputError
from bros_sim.core.extras import need
from bros_sim.experiment import Loaded, Point, load
from bros_sim.plots import FigureSpec
from bros_sim.report.figure_files import read_figures
from bros_sim.study.runner import Engine, LocalWorkers, pending, run_points
from bros_sim.study.store import Store
from bros_sim.study.variation import Run, Variation


def load_experiment(path: Path, overrides: list[str] | None) -> tuple[Loaded, list[FigureSpec]]:
    """The experiment and its figures; its warnings are said."""
    document = read_experiment(path, overrides)
    loaded = load(document)
    figures = read_figures(document, loaded.points)
    for line in loaded.warnings:
        say(f"warning: {line}")
    return loaded, figures


def counted(number: int, thing: str) -> str:
    """``1 point``, ``2 points``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def engine(workers: int | None, dask: str | None, store: Store) -> Engine:
    """Who runs the points: local processes, or the workers of a Dask cluster."""
    if dask is None:
        return LocalWorkers(workers or _cores())
    if workers is not None:
        raise InputError("--workers: the Dask cluster of --dask has its own")
    module = need("bros_sim.study.dask_cluster", "cluster", "--dask needs the extra")
    cluster: Engine = module.DaskCluster(dask, store.folder.resolve())
    return cluster


def run_missing(
    points: Sequence[Point],
    store: Store,
    engine: Engine,
    again: str,
    *,
    retry_failed: bool = False,
) -> dict[str, str]:
    """Run what is missing; key -> error of the points that failed, now or before.

    ``again`` is the command that resumes.
    """
    there = pending(points, store, retry_failed=retry_failed)
    for line in there.damaged:
        say(line)
    if there.complete:
        say(f"{counted(there.complete, 'point')} already in {store.folder}")
    if there.failed:
        say(f"{counted(len(there.failed), 'point')} failed before: --retry-failed runs them again")
    try:
        with Progress(len(there.todo)) as progress:
            outcomes = run_points(there.todo, store, engine, progress.advance)
    except KeyboardInterrupt:
        say(f"interrupted; the points that ended are kept, resume with: {again}")
        raise typer.Exit(INTERRUPTED) from None
    failed = {key: outcome.error for key, outcome in outcomes.items() if outcome.error}
    return there.failed | failed


def opened(variation: Variation, loaded: Loaded, out: Path) -> Store:
    """The results folder of a search; warnings, and what it leaves aside, are said."""
    for line in [*loaded.warnings, *variation.unused(loaded)]:
        say(f"warning: {line}")
    store = Store(out / loaded.spec.name)
    store.open()
    return store


def runner(store: Store, workers: int | None, dask: str | None, *, retry_failed: bool) -> Run:
    """Who runs what the store does not hold."""
    at_work = engine(workers, dask, store)

    def run(points: Sequence[Point]) -> dict[str, str]:
        return run_missing(points, store, at_work, "the same command", retry_failed=retry_failed)

    return run
