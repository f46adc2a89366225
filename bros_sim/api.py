"""The package from Python: what `bros-sim run` does, with tables instead of files to read.

`import bros_sim as bs` gives all names of ``__all__``; docs/api.md lists them.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bros_sim.config import override, parse, read_yaml
from bros_sim.config.documents import Document
from bros_sim.core.errors import InputError
from bros_sim.experiment import Loaded as Experiment
from bros_sim.experiment import Point
from bros_sim.experiment import load as _load
from bros_sim.experiment.build import run_point
from bros_sim.metrics import request_metrics, summarise
from bros_sim.metrics.means import means as _means
from bros_sim.study.collect import collect
from bros_sim.study.results import ResultSet as Results
from bros_sim.study.runner import LocalWorkers, Outcome, pending, run_points
from bros_sim.study.sequential import add_seeds
from bros_sim.study.store import Store, open_results

__all__ = [
    "Experiment", "InputError", "Point", "Results", "Run",
    "load", "loads", "means", "read_results", "run", "sweep",
]  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What one point came to.

    Attributes:
        requests: One row per arrived request, as requests.parquet.
        steps: One row per stretch of like iterations, as steps.parquet.
        summary: One row per class (``rt``, ``be``, ``all``), one column per metric.
    """

    requests: pd.DataFrame
    steps: pd.DataFrame
    summary: pd.DataFrame


def load(path: str | Path, changes: Mapping[str, object] | None = None) -> Experiment:
    """Check an experiment file and lay out its points.

    Args:
        path: The YAML file.
        changes: Path -> value, as ``--set`` of the command line takes them.

    Raises:
        InputError: With every fault, each with its line and path.
    """
    return _checked(read_yaml(path), changes)


def loads(text: str, changes: Mapping[str, object] | None = None) -> Experiment:
    """The same for YAML text; relative paths in it start from the working directory."""
    return _checked(parse(text, "experiment"), changes)


def _checked(document: Document, changes: Mapping[str, object] | None) -> Experiment:
    for path, value in (changes or {}).items():
        document = override(document, f"{path}={json.dumps(value)}")  # JSON is YAML
    return _load(document)


def means(results: Results) -> pd.DataFrame:
    """Every metric's mean over the seeds of its cell, with its 95 % t interval, as means.csv."""
    return _means(results.table(), results.cells)


def run(point: Point | Experiment) -> Run:
    """Simulate one point here and now; nothing is written.

    Raises:
        InputError: It is an experiment of several points, or a file that it reads has changed.
    """
    if isinstance(point, Experiment):
        if len(point.points) != 1:
            what = (
                f"{point.spec.name}: has {len(point.points)} points: run one of .points, or sweep"
            )
            raise InputError(what)
        point = point.points[0]
    tables = run_point(point.spec)
    requests = request_metrics(tables)
    summary = summarise(tables, requests, warmup_s=point.spec.warmup_s)
    return Run(requests, tables.steps, pd.DataFrame(summary).T.rename_axis("class"))


def sweep(
    experiment: Experiment,
    out: str | Path = "results",
    *,
    workers: int | None = None,
    retry_failed: bool = False,
    progress: Callable[[Point, Outcome], None] | None = None,
) -> Results:
    """Run every point that is not stored yet, and more seeds where ``sweep.until`` asks for them.

    Args:
        experiment: What `load` or `loads` made.
        out: Results go to ``out/<name>``, as from the command line, which can go on with them.
        workers: Processes; by default one for each core. They import classes of your own by module.
        retry_failed: Run points again that failed before.
        progress: Called after every point, in the order in which they end.

    Raises:
        InputError: Results cannot be written there.
        RunStopped: The disk is full.

    Returns:
        All of them.
    """
    store = Store(Path(out) / experiment.spec.name, decisions=experiment.spec.outputs.decisions)
    store.open()
    engine = LocalWorkers(workers or len(os.sched_getaffinity(0)))

    def run_them(points: Sequence[Point]) -> dict[str, str]:
        there = pending(points, store, retry_failed=retry_failed)
        outcomes = run_points(there.todo, store, engine, progress or (lambda *_: None))
        errors = {key: outcome.error for key, outcome in outcomes.items() if outcome.error}
        return there.failed | errors

    loaded, errors = add_seeds(experiment, store, run_them)
    return collect(loaded, store, errors)[0]


def read_results(folder: str | Path) -> Results:
    """The results of an earlier run: ``read_results("results/<name>")``.

    Raises:
        InputError: It is not the folder of a finished run.
    """
    return open_results(Path(folder))[0]
