"""Run the points of an experiment: here, on local workers or on a Dask cluster, never twice.

Every point is independent and lands in its own folder, so the bytes do not depend on who ran it,
and an interrupted sweep goes on where it stopped.
"""

import errno
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bros_sim.cluster.cluster import without_cyclic_gc
from bros_sim.core.errors import InputError, RunStopped
from bros_sim.experiment import Point
from bros_sim.experiment.build import facts, read_point, run_point
from bros_sim.metrics import request_metrics, summarise
from bros_sim.study.store import NO_DECISIONS, Content, Failure, Store
from bros_sim.study.workers import on_workers

KILLED = "it killed its worker process, twice (out of memory?)"


@dataclass(frozen=True)
class Task:
    """A point as it travels to a worker."""

    key: str
    resolved: str
    folder: Path
    decisions: bool


@dataclass(frozen=True)
class Outcome:
    """What became of one point: nothing to say, or why it failed.

    ``lasting``: whether it would fail again, as far as one can tell; ``no_room``: the disk is full.
    """

    key: str
    error: str = ""
    details: str = ""
    lasting: bool = True
    no_room: bool = False


class Engine(Protocol):
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
        """See `Engine`."""
        if min(self.workers, len(tasks)) > 1:
            yield from on_workers(run, tasks, self.workers)
            return
        for task in tasks:
            yield task, run(task)


@dataclass(frozen=True)
class Pending:
    """What there is to do: points to run, each key once, and what became of others before.

    ``complete`` are stored. ``failed`` failed in an earlier run (key -> why) and do not run again;
    ``damaged`` are lines about stored folders that do.
    """

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
    return Pending(todo, complete, failed, damaged)


def run_points(
    points: Sequence[Point],
    store: Store,
    engine: Engine,
    done: Callable[[Point, Outcome], None],
) -> dict[str, Outcome]:
    """Run ``points`` and store them; a point that fails is noted and does not stop the others.

    Args:
        points: What `pending` returned.
        store: Where the results go.
        engine: Who runs them.
        done: Called after every point, in the order in which they end.

    Returns:
        Key -> outcome of every point.

    Raises:
        RunStopped: The disk is full.
    """
    by_key = {point.key: point for point in points}
    folder = store.folder.resolve()
    tasks = [Task(point.key, point.resolved, folder, store.decisions) for point in points]
    outcomes: dict[str, Outcome] = {}
    no_room = ""
    with closing(engine(execute, tasks)) as ended:
        for task, result in ended:
            outcome = result or Outcome(task.key, KILLED)
            if outcome.no_room:
                no_room = outcome.error
                break
            if outcome.error and outcome.lasting:
                store.write_failure(task.key, Failure(outcome.error, outcome.details))
            outcomes[task.key] = outcome
            done(by_key[task.key], outcome)
    if no_room:  # other workers may have stored theirs since
        kept = sum(store.state(key) == "complete" for key in by_key)
        raise RunStopped(f"{no_room}; {kept} points are kept")
    store.tidy()
    return outcomes


def execute(task: Task) -> Outcome:
    """Simulate one point, measure it and store it."""
    with without_cyclic_gc():
        return _executed(task)


def _executed(task: Task) -> Outcome:
    try:
        spec = read_point(task.resolved)
        tables = run_point(spec, decisions=task.decisions)
        requests = request_metrics(tables)
        summary = summarise(tables, requests, warmup_s=spec.warmup_s)
        made = facts(spec)
        measured = (requests, tables.steps, tables.engines, summary)
        content = Content(*measured, made, task.resolved, tables.decisions)
        return _stored(task, content)
    except InputError as error:
        return Outcome(task.key, "; ".join(error.lines), lasting=False)
    except Exception as error:  # one bad point must not end the others
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return Outcome(task.key, what, traceback.format_exc())


def _stored(task: Task, content: Content) -> Outcome:
    try:
        Store(task.folder, decisions=task.decisions).write(task.key, content)
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        what = f"{task.folder}: cannot be written: {error.strerror or error}"
        return Outcome(task.key, what, lasting=False, no_room=full)
    return Outcome(task.key)
