"""Run points: here, on local workers or on a Dask cluster, never twice.

Every point is independent and lands in its own folder, so the bytes do not depend on who ran it,
and an interrupted sweep goes on where it stopped.
"""

import errno
import pickle
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bros_sim.cluster.cluster import without_cyclic_gc
from bros_sim.core.errors import InputError, RunStopped
from bros_sim.experiment import Point, resolved
from bros_sim.experiment.build import facts, run_point
from bros_sim.experiment.schema import PointSpec
from bros_sim.metrics import request_metrics, summarise
from bros_sim.study.store import NO_DECISIONS, Content, Failure, Store
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

    def unpacked(self) -> PointSpec:
        """What to run.

        Raises:
            InputError: This process cannot import a class of the user's own.
        """
        try:
            spec: PointSpec = pickle.loads(self.spec)
        except (ImportError, AttributeError) as error:
            raise InputError(f"a worker cannot import a class of yours: {error}") from None
        return spec


@dataclass(frozen=True)
class Outcome:
    """How one point ended: well, or why it failed.

    ``lasting``: whether it would fail again, as far as one can tell; ``no_room``: the disk is full.
    """

    key: str
    error: str = ""
    details: str = ""
    lasting: bool = True
    no_room: bool = False


class Workers(Protocol):
    """Runs ``execute`` on tasks, in any order; None for a task that killed its process."""

    def __call__(
        self, run: Callable[[Task], Outcome], tasks: Sequence[Task]
    ) -> Generator[tuple[Task, Outcome | None]]:
        """Run them all."""
        ...


@dataclass(frozen=True)
class LocalWorkers:
    """Processes on this machine; with one, or a single task, everything happens in this one."""

    workers: int

    def __call__(
        self, run: Callable[[Task], Outcome], tasks: Sequence[Task]
    ) -> Generator[tuple[Task, Outcome | None]]:
        """Run them all."""
        if min(self.workers, len(tasks)) > 1:
            yield from on_workers(run, tasks, self.workers)
            return
        for task in tasks:
            yield task, run(task)


@dataclass(frozen=True)
class Pending:
    """The points that have to run, each key once, and the state of the others.

    ``complete`` are stored in ``folder``. ``failed`` failed in an earlier run (key -> why) and do
    not run again; ``damaged`` are lines about stored points that do.
    """

    folder: Path
    todo: list[Point]
    complete: int
    failed: dict[str, str]
    damaged: list[str]


def pending(points: Sequence[Point], store: Store, *, retry_failed: bool = False) -> Pending:
    """What of ``points`` is not in the store yet."""
    todo: list[Point] = []
    failed: dict[str, str] = {}
    complete, damaged = 0, []
    for point in {point.key: point for point in points}.values():
        state = store.state(point.key)
        if state == "complete":
            complete += 1
            continue
        failure = None if retry_failed else store.failure(point.key)
        if failure is not None:
            failed[point.key] = failure.error
            continue
        todo.append(point)
        if state not in {"missing", NO_DECISIONS}:
            damaged.append(f"{store.points / point.key}: damaged ({state}), runs again")
    return Pending(store.folder, todo, complete, failed, damaged)


def run_points(
    points: Sequence[Point], store: Store, workers: Workers, ended: Callable[[Point, Outcome], None]
) -> dict[str, Outcome]:
    """Run ``points`` and store them; a point that fails is noted and does not stop the others.

    Args:
        points: Those of `pending` that are to do.
        store: Where the results go.
        workers: They run them.
        ended: Called after every point, in the order in which they end.

    Returns:
        Key -> outcome of every point.

    Raises:
        RunStopped: The disk is full.
    """
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
                store.write_failure(task.key, Failure(outcome.error, outcome.details))
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
            return _stored(task, _content(task.unpacked(), task.decisions))
        except InputError as error:
            return Outcome(task.key, "; ".join(error.lines), lasting=False)
        except Exception as error:  # one bad point must not end the others
            what = " ".join(f"{type(error).__name__}: {error}".split())
            return Outcome(task.key, what, traceback.format_exc())


def _content(spec: PointSpec, decisions: bool) -> Content:
    tables = run_point(spec, decisions=decisions)
    requests = request_metrics(tables)
    summary = summarise(tables, requests, warmup_s=spec.warmup_s)
    measured = (requests, tables.steps, tables.engines, summary)
    return Content(*measured, facts(spec), resolved(spec), tables.decisions)


def _stored(task: Task, content: Content) -> Outcome:
    try:
        Store(task.folder, decisions=task.decisions).write(task.key, content)
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        what = f"{task.folder}: cannot be written: {error.strerror or error}"
        return Outcome(task.key, what, lasting=False, no_room=full)
    return Outcome(task.key)
