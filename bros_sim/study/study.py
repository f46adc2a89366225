"""A study: points that are run, read back and judged, until a question has its answer.

A *search* proposes candidates, learns from their trials and ends with an *answer*. A plain run,
more seeds (`sweep`), capacity and tuning are all searches.
"""

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from bros_sim.core.errors import InputError
from bros_sim.core.extras import need
from bros_sim.experiment import Point
from bros_sim.study.results import PointResult
from bros_sim.study.runner import Outcome, Pending, Workers, here, pending, run_points
from bros_sim.study.store import Store

Answer = TypeVar("Answer")
Ended = Callable[[Point, Outcome], None]
"""Called after every point, in the order in which they end."""


class Watch:
    """Sees how a study goes on; this one calls ``ended`` after every point and keeps quiet."""

    def __init__(self, ended: Ended = lambda *_: None) -> None:
        self._ended = ended

    def running(self, what: Pending) -> AbstractContextManager[Ended]:
        """Around a round of runs."""
        del what
        return nullcontext(self._ended)

    def say(self, line: str) -> None:
        """A warning, or the result of a trial."""


Candidate = Sequence[Point]
"""Points that are judged together: a setting with some seeds."""


@dataclass(frozen=True)
class Trial:
    """A candidate that was run: for each point its result, and why it or its baseline failed."""

    runs: Sequence[tuple[PointResult, str]]

    @property
    def results(self) -> list[PointResult]:
        """Of all points."""
        return [result for result, _ in self.runs]

    @property
    def error(self) -> str:
        """The first of the errors; empty if all went well."""
        return next((error for _, error in self.runs if error), "")


Search = Generator[Sequence[Candidate], Sequence[Trial], Answer]
"""Yields the candidates to run next, all together; gets their trials; returns the answer."""


class Study:
    """Runs points that are not stored yet, and their baselines; ``errors``: key -> what failed."""

    def __init__(self, store: Store, workers: Workers, place: "Place") -> None:
        self.store = store
        self.watch = place.watch or Watch()
        self.errors: dict[str, str] = {}
        self._workers = workers
        self._place = place

    def answer(self, search: Search[Answer]) -> Answer:
        """Run what the search proposes until it has its answer."""
        try:
            candidates = next(search)
            while True:
                self._run([point for points in candidates for point in points])
                trials = [Trial([*map(self._read, points)]) for points in candidates]
                candidates = search.send(trials)
        except StopIteration as end:
            found: Answer = end.value
            return found

    def _read(self, point: Point) -> tuple[PointResult, str]:
        """What is stored of a point, beside its baseline, and why it or that failed."""
        error = self.errors.get(point.key, "")
        result = self.store.read(point.labels, point.key, error)
        if point.baseline is None:
            return result, error
        alone, why = self._read(point.baseline)
        return result.beside(alone), error or why

    def _run(self, points: Sequence[Point]) -> None:
        wanted = [*points, *(point.baseline for point in points if point.baseline)]
        again = self._place.overwrite
        for point in wanted if again else ():
            self.store.remove(point.key)
        there = pending(wanted, self.store, retry_failed=again or self._place.retry_failed)
        with self.watch.running(there) as ended:
            outcomes = run_points(there.todo, self.store, self._workers, ended)
        self.errors |= there.failed
        self.errors |= {key: outcome.error for key, outcome in outcomes.items() if outcome.error}


@dataclass(frozen=True)
class Place:
    """Where and how a study runs: results go to ``out/<name>``; ``watch`` sees how it goes on.

    With one of ``workers`` (by default one for each core) all runs in this process; ``dask`` is
    the address of the scheduler of a Dask cluster, to run there instead. ``retry_failed`` runs
    points again that failed before, ``overwrite`` those that are stored.
    """

    out: str | Path = "results"
    workers: int | None = None
    dask: str | None = None
    retry_failed: bool = False
    overwrite: bool = False
    watch: Watch | None = None

    def study(self, name: str, *, decisions: bool = False) -> Study:
        """The study of an experiment of that name."""
        store = Store(Path(self.out) / name, decisions=decisions)
        store.open()
        return Study(store, self._workers(store), self)

    def _workers(self, store: Store) -> Workers:
        if self.dask is None:
            return partial(here, workers=self.workers or cores())
        if self.workers is not None:
            raise InputError("--workers: the Dask cluster of --dask has its own")
        module = need("bros_sim.study.dask_cluster", "cluster", "--dask needs the extra")
        return partial(module.on_dask, address=self.dask, folder=store.folder.resolve())


def cores() -> int:
    """How many processes can run at once."""
    return len(os.sched_getaffinity(0))
