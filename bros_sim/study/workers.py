"""Local worker processes: points run one by one, and only one that kills its worker fails.

A pool of the standard library says nothing about who broke it, and gives up on all that it was
given. So no more points are in flight than workers can be busy with, and those that a broken pool
takes with it run again, each in a pool of its own: what breaks that as well is to blame.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
AHEAD = 1
"""Tasks in flight beyond one for each worker, so that nobody waits for the next."""


def on_workers(
    run: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Generator[tuple[Task, Result | None]]:
    """Run tasks on ``workers`` processes, as they end; None for one that killed its process."""
    waiting, suspects = deque(tasks), list[Task]()
    while waiting:
        suspects += yield from _until_broken(run, waiting, workers)
    for task in suspects:
        for _ in (yield from _until_broken(run, deque([task]), 1)):
            yield task, None


def _until_broken(
    run: Callable[[Task], Result], waiting: deque[Task], workers: int
) -> Generator[tuple[Task, Result | None], None, list[Task]]:
    """Take tasks from the queue until it is empty or a worker dies; those then in flight."""
    flying: dict[Future[Result], Task] = {}
    with _pool(min(workers, len(waiting))) as pool:
        while waiting or flying:
            while waiting and len(flying) < workers + AHEAD:
                try:
                    flying[pool.submit(run, waiting[0])] = waiting[0]
                except BrokenExecutor:
                    return list(flying.values())
                waiting.popleft()
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                if not _is_broken(future):
                    yield flying.pop(future), future.result()
            if any(map(_is_broken, flying)):
                return list(flying.values())
    return []


def _is_broken(future: Future[Result]) -> bool:
    return future.done() and isinstance(future.exception(), BrokenExecutor)


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end at once if this one is interrupted."""
    context = multiprocessing.get_context("spawn")
    others = multiprocessing.active_children()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_set_up_worker)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        mine = [child for child in multiprocessing.active_children() if child not in others]
        for process in mine:
            process.kill()
        for process in mine:
            process.join()
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
