"""The package from Python: what the command line does, with tables instead of files to read.

`import bros_sim as bs` gives all names of ``__all__``; docs/api.md lists them.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from bros_sim.metrics.intervals import means as _means
from bros_sim.metrics.measures import Measure, Target
from bros_sim.report import searches, tuned
from bros_sim.report.compared import Comparison, compare
from bros_sim.report.figure_files import Drawn, plot
from bros_sim.report.searches import Capacity
from bros_sim.report.story import Explanation, explain
from bros_sim.report.tuned import Tuned
from bros_sim.report.validated import Validation, validate
from bros_sim.study import capacity as _capacity
from bros_sim.study.results import ResultSet as Results
from bros_sim.study.runner import Outcome
from bros_sim.study.store import opened
from bros_sim.study.study import Place, Study, Watch
from bros_sim.study.sweep import collect
from bros_sim.study.sweep import sweep as _sweep
from bros_sim.study.tuning import search as tuning
from bros_sim.study.tuning.space import Setting, read_parameter
from bros_sim.study.variation import Variation

__all__ = [
    "Capacity", "Comparison", "Drawn", "Experiment", "Explanation", "InputError", "Place", "Point",
    "Results", "Run", "Tuned", "Validation",
    "capacity", "compare", "explain", "load", "loads", "means", "plot", "read_results", "run",
    "sweep", "tune", "validate",
]  # fmt: skip


@dataclass(frozen=True)
class Run:
    """The results of one point: requests.parquet, steps.parquet, and the metrics by class."""

    requests: pd.DataFrame
    steps: pd.DataFrame
    summary: pd.DataFrame


def load(path: str | Path, changes: Mapping[str, object] | None = None) -> Experiment:
    """Check an experiment file and lay out its points; ``changes``: path -> value, as ``--set``.

    An `InputError` has every fault, each with its line and path.
    """
    return _checked(read_yaml(path), changes)


def loads(text: str, changes: Mapping[str, object] | None = None) -> Experiment:
    """The same for YAML text; relative paths in it start from the working directory."""
    return _checked(parse(text, "experiment"), changes)


def _checked(document: Document, changes: Mapping[str, object] | None) -> Experiment:
    for path, value in (changes or {}).items():
        document = override(document, f"{path}={json.dumps(value)}")  # JSON is YAML
    return _load(document)


def run(point: Point | Experiment) -> Run:
    """Simulate one point here and now; nothing is written.

    An `InputError` says that there are several points, or that a file they read has changed.
    """
    if isinstance(point, Experiment):
        if len(point.points) != 1:
            what = f"has {len(point.points)} points: run one of .points, or sweep"
            raise InputError(f"{point.spec.name}: {what}")
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
    """
    watch = Watch(progress) if progress else None
    place = Place(out, workers, retry_failed=retry_failed, watch=watch)
    study = place.study(experiment.spec.name, decisions=experiment.spec.outputs.decisions)
    return collect(experiment, study.answer(_sweep(experiment, study.watch)), study.store)[0]


def read_results(folder: str | Path) -> Results:
    """The results of an earlier run, ``results/<name>``; an `InputError` if it is none."""
    return opened(folder)


def means(results: Results) -> pd.DataFrame:
    """Every metric's mean over the seeds of its cell, with its 95 % t interval, as means.csv."""
    return _means(results.table(), results.cells)


def capacity(
    experiment: Experiment,
    vary: str,
    targets: str | Sequence[str],
    *,
    seeds: int = 20,
    precision: float = 0.05,
    place: Place | None = None,
) -> Capacity:
    """The highest ``vary`` that keeps the targets, or the least; ``place``: where points run.

    An `InputError` says that a target, the path or the experiment is at fault.
    """
    limits = [targets] if isinstance(targets, str) else targets
    question = _capacity.Question(vary, _parsed(limits), seeds, precision)
    variants = _capacity.Variants(experiment.document, question)
    study = _searched(variants.variation, variants.at(variants.start), place)

    def judged(cell: _capacity.Cell, value: float) -> None:
        study.watch.say(searches.evaluated(cell, value, vary))

    cells = study.answer(_capacity.find(variants, judged))
    return searches.write_capacity(cells, variants, study.store)


def tune(
    experiment: Experiment,
    vary: Sequence[str],
    *,
    maximize: str | None = None,
    minimize: str | None = None,
    targets: Sequence[str] = (),
    system: str | None = None,
    trials: int = 40,
    seeds: int = 5,
    held_out: int = 10,
    place: Place | None = None,
) -> Tuned:
    """The values of ``vary`` with which a system has most, or least, of a measure; needs ``opt``.

    Raises:
        InputError: The question or the experiment is at fault, or the extra is not installed.
        RunStopped: The experiment as given fails.
    """
    if (maximize is None) == (minimize is None):
        raise InputError("tune: say one of --maximize MEASURE and --minimize MEASURE")
    option = "--minimize" if maximize is None else "--maximize"
    objective = Measure.parse(minimize or maximize or "", option)
    most = maximize is not None
    question = tuning.Question(objective, most, _parsed(targets), trials, seeds, held_out)
    space = [read_parameter(text) for text in vary]
    setting = Setting(experiment.document, space, question.measures, system)
    study = _searched(setting.variation, setting.loaded, place)

    def judged(one: tuning.Judged) -> None:
        study.watch.say(tuned.judged(one))

    answer = study.answer(tuning.find(setting, question, judged))
    return tuned.write_tuning(answer, setting, study.store)


def _parsed(targets: Iterable[str]) -> tuple[Target, ...]:
    return tuple(Target.parse(text, "--target") for text in targets)


def _searched(variation: Variation, experiment: Experiment, place: Place | None) -> Study:
    """The study of a search; its watch gets the warnings, and what the search ignores."""
    study = (place or Place()).study(experiment.spec.name)
    for line in [*experiment.warnings, *variation.unused(experiment)]:
        study.watch.say(f"warning: {line}")
    return study
