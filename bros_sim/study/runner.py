"""Run points: here, on local workers or on a Dask cluster, never twice.

Every point is independent and lands in its own folder, so the bytes do not depend on who ran it,
and an interrupted sweep goes on where it stopped.
"""

import errno
import pickle
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from bros_sim.cluster.cluster import without_cyclic_gc
from bros_sim.core.errors import InputError, RunStopped
from bros_sim.experiment import Point, resolved
from bros_sim.experiment.build import facts, model_len, run_point
from bros_sim.experiment.schema import PointSpec
from bros_sim.metrics import refusals, request_metrics, summarise
from bros_sim.study.results import DECISIONS, ENGINES, MODEL_LEN, REFUSALS, REQUESTS, STEPS
from bros_sim.study.store import NO_DECISIONS, Store
from bros_sim.study.workers import on_workers

KILLED = "it killed its worker process, twice (out of memory?)"


@dataclass(frozen=True)
class Task:
    """A point as it travels to a worker: pickled, so that every run has objects of its own."""

    key: str
    spec: bytes
    folder: Path
    decisions: bool

    @classmethod
    def of(cls, point: Point, store: Store) -> "Task":
        """The point, to be stored there."""
        return cls(point.key, pickle.dumps(point.spec), store.folder.resolve(), store.decisions)


@dataclass(frozen=True)
class Outcome:
    """How a point ended; ``lasting``: it would fail again; ``no_room``: the disk is full."""

    key: str
    error: str = ""
    details: str = ""
    lasting: bool = True
    no_room: bool = False


Results = Generator[tuple[Task, Outcome | None]]
Workers = Callable[[Callable[[Task], Outcome], Sequence[Task]], Results]
"""Runs `execute` on tasks, in any order; None for a task that killed its process."""


def here(run: Callable[[Task], Outcome], tasks: Sequence[Task], workers: int) -> Results:
    """Processes on this machine; with one, or a single task, everything happens in this one."""
    if min(workers, len(tasks)) > 1:
        return on_workers(run, tasks, workers)
    return ((task, run(task)) for task in tasks)


@dataclass
class Pending:
    """The points that have to run, each key once, and the state of the others.

    ``failed`` (key -> why) failed in an earlier run; ``damaged`` are lines about stored points.
    """

    folder: Path
    todo: list[Point] = field(default_factory=list)
    complete: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)


def pending(points: Sequence[Point], store: Store, *, retry_failed: bool = False) -> Pending:
    """What of ``points`` is not in the store yet."""
    found = Pending(store.folder)
    for point in {point.key: point for point in points}.values():
        state = store.state(point.key)
        if state == "complete":
            found.complete += 1
        elif not retry_failed and (failure := store.failure(point.key)) is not None:
            found.failed[point.key] = failure
        else:
            found.todo.append(point)
            if state not in {"missing", NO_DECISIONS}:
                damaged = f"{store.points / point.key}: damaged ({state}), runs again"
                found.damaged.append(damaged)
    return found


def run_points(
    points: Sequence[Point], store: Store, workers: Workers, ended: Callable[[Point, Outcome], None]
) -> dict[str, Outcome]:
    """Run ``points`` and store them: key -> outcome; a failed one does not stop the others."""
    by_key = {point.key: point for point in points}
    outcomes: dict[str, Outcome] = {}
    no_room = ""
    with closing(workers(execute, [Task.of(point, store) for point in points])) as results:
        for task, result in results:
            outcome = result or Outcome(task.key, KILLED)
            if outcome.no_room:
                no_room = outcome.error
                break
            if outcome.error and outcome.lasting:
                store.write_failure(task.key, outcome.error, outcome.details)
            outcomes[task.key] = outcome
            ended(by_key[task.key], outcome)
    if no_room:  # other workers may have stored theirs since
        kept = sum(store.state(key) == "complete" for key in by_key)
        raise RunStopped(f"{no_room}; {kept} points are kept")
    store.tidy()
    return outcomes


def execute(task: Task) -> Outcome:
    """Simulate one point, measure it and store it."""
    with without_cyclic_gc():
        try:
            return _stored(task, _unpacked(task))
        except InputError as error:
            return Outcome(task.key, "; ".join(error.lines), lasting=False)
        except Exception as error:  # one bad point must not end the others
            what = " ".join(f"{type(error).__name__}: {error}".split())
            return Outcome(task.key, what, traceback.format_exc())


def _unpacked(task: Task) -> PointSpec:
    try:
        spec: PointSpec = pickle.loads(task.spec)
    except (ImportError, AttributeError) as error:
        raise InputError(f"a worker cannot import a class of yours: {error}") from None
    return spec


def _stored(task: Task, spec: PointSpec) -> Outcome:
    ran = run_point(spec, decisions=task.decisions)
    requests = request_metrics(ran)
    tables = {REQUESTS: requests, STEPS: ran.steps}
    if ran.decisions is not None:
        tables[DECISIONS] = ran.decisions
    measured = summarise(ran, requests, warmup_s=spec.warmup_s)
    summary: dict[str, object] = {
        **facts(spec),
        "summary": measured,
        ENGINES: ran.engines.to_dict("records"),
    }
    if why := refusals(ran, requests, warmup_s=spec.warmup_s):
        summary |= {REFUSALS: why, MODEL_LEN: model_len(spec)}
    store, written_out = Store(task.folder, decisions=task.decisions), resolved(spec)
    try:
        store.write(task.key, tables, summary, written_out)
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        what = f"{task.folder}: cannot be written: {error.strerror or error}"
        return Outcome(task.key, what, lasting=False, no_room=full)
    return Outcome(task.key)
