"""How the verbs that search start."""

from collections.abc import Sequence
from pathlib import Path

from bros_sim.cli.run import engine, run_missing
from bros_sim.experiment import Loaded, Point
from bros_sim.report.terminal import say
from bros_sim.study.store import Store
from bros_sim.study.variation import Run, Variation


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
