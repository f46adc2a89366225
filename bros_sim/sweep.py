"""Run the points of an experiment: in this process or on local workers, never twice.

Every point is independent and lands in its own folder, so the bytes do not depend on the number of
workers, and an interrupted sweep goes on where it stopped.
"""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bros_sim.errors import InputError
from bros_sim.experiment import Point
from bros_sim.experiment.build import facts, read_point, run_point
from bros_sim.metrics import request_metrics, summarise
from bros_sim.store import NO_DECISIONS, Content, Store


@dataclass(frozen=True)
class Outcome:
    """What became of one point: nothing to say, or why it failed."""

    key: str
    error: str = ""
    details: str = ""


def pending(points: Sequence[Point], store: Store) -> tuple[list[Point], list[str]]:
    """Points to run, each key once, and what is wrong with stored folders that run again."""
    todo: dict[str, Point] = {}
    damaged = []
    for point in points:
        if point.key in todo:
            continue
        state = store.state(point.key)
        if state != "complete":
            todo[point.key] = point
        if state not in {"complete", "missing", NO_DECISIONS}:
            damaged.append(f"{store.points / point.key}: damaged ({state}), runs again")
    return list(todo.values()), damaged


def run_points(
    points: Sequence[Point],
    store: Store,
    workers: int,
    done: Callable[[Point, Outcome], None],
) -> dict[str, Outcome]:
    """Run ``points`` and store them; a point that fails does not stop the others.

    Args:
        points: What `pending` returned.
        store: Where the results go.
        workers: Processes; with 1, or a single point, everything happens in this process.
        done: Called after every point, in the order in which they end.

    Returns:
        Key -> outcome of every point.
    """
    outcomes = {}
    runs = _in_process if min(workers, len(points)) <= 1 else _on_workers
    with closing(runs(points, store, workers)) as ended:
        for point, outcome in ended:
            outcomes[point.key] = outcome
            done(point, outcome)
    return outcomes


def _in_process(
    points: Sequence[Point], store: Store, workers: int
) -> Generator[tuple[Point, Outcome]]:
    del workers
    for point in points:
        yield point, execute(point.key, point.resolved, store.folder, decisions=store.decisions)


def _on_workers(
    points: Sequence[Point], store: Store, workers: int
) -> Generator[tuple[Point, Outcome]]:
    pool = ProcessPoolExecutor(
        min(workers, len(points)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_set_up_worker,
    )
    run = partial(execute, folder=store.folder, decisions=store.decisions)
    futures = {pool.submit(run, point.key, point.resolved): point for point in points}
    try:
        for future in as_completed(futures):
            yield futures[future], _outcome(future, futures[future])
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    pool.shutdown()


def _set_up_worker() -> None:
    """Ctrl-C is for the parent, which then ends its workers; a killed parent leaves no orphans."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _outcome(future: "Future[Outcome]", point: Point) -> Outcome:
    try:
        return future.result()
    except BrokenExecutor:
        return Outcome(point.key, "a worker process was killed (out of memory?); run again")


def execute(key: str, resolved: str, folder: Path, *, decisions: bool = False) -> Outcome:
    """Simulate one point, measure it and store it."""
    try:
        spec = read_point(resolved)
        tables = run_point(spec, decisions=decisions)
        requests = request_metrics(tables)
        summary = summarise(tables, requests, warmup_s=spec.warmup_s)
        content = Content(requests, tables.steps, summary, facts(spec), resolved, tables.decisions)
        Store(folder, decisions=decisions).write(key, content)
    except InputError as error:
        return Outcome(key, "; ".join(error.faults))
    except Exception as error:  # one bad point must not end the others
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return Outcome(key, what, traceback.format_exc())
    return Outcome(key)
