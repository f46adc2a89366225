"""Seeds added until the intervals of an experiment are as narrow as ``sweep.until`` asks."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bros_sim.experiment import Loaded
from bros_sim.experiment.seeds import grid_point, with_seeds
from bros_sim.experiment.sweep import Until
from bros_sim.metrics.intervals import half_width
from bros_sim.metrics.measures import Width
from bros_sim.study.results import Labels, PointResult, label_words
from bros_sim.study.store import Store
from bros_sim.study.variation import Run, value_of

Told = Callable[[int, int], None]
"""Called before more seeds run: points of the grid whose intervals are too wide, runs to come."""


@dataclass(frozen=True)
class Interval:
    """One of the intervals that are asked for: a measure of a system at a point of the grid.

    ``mean`` and ``half_width`` are NaN if fewer than two of the ``seeds`` have the measure.
    """

    labels: Labels
    place: str
    width: Width
    mean: float
    half_width: float
    seeds: int

    @property
    def excess(self) -> float:
        """How many times too wide it is."""
        return self.width.excess(self.mean, self.half_width)

    @property
    def words(self) -> str:
        """What it is, where, and what was asked."""
        of = f"{label_words(self.labels)}: {self.width.measure}"
        if math.isnan(self.mean):
            return f"{of} has no interval: not two of {self.seeds} seeds have a value"
        half = f"± {self.half_width:.3g} after {self.seeds} seeds, {self.width} was asked"
        return f"{of} {self.mean:.3g} {half}"


def add_seeds(
    loaded: Loaded, store: Store, run: Run, told: Told = lambda _places, _runs: None
) -> tuple[Loaded, dict[str, str]]:
    """Run the experiment, and more seeds where intervals are too wide; with what failed.

    Every point of the grid has the same seeds under all systems. Which come next depends on
    results alone, so a sweep that was interrupted takes the same way again. A point of the grid at
    which a run failed gets no more.
    """
    errors = dict(run(loaded.all_points))
    until = loaded.spec.sweep.until
    while until and (counts := _wanted(loaded, store, errors, until)):
        known = {point.key for point in loaded.all_points}
        loaded = with_seeds(loaded, counts)
        new = [point for point in loaded.all_points if point.key not in known]
        told(len(counts), len({point.key for point in new}))
        errors |= run(new)
    return loaded, errors


def too_wide(loaded: Loaded, store: Store, errors: Mapping[str, str]) -> list[Interval]:
    """The intervals that are wider than asked after all seeds, and those that do not exist.

    Nothing is said of a measure without a value where a run failed.
    """
    until = loaded.spec.sweep.until
    found = _intervals(loaded, store, errors, until) if until else ()
    failed = _failed(loaded, errors)
    return [
        interval
        for interval in found
        if interval.excess > 1 or (math.isnan(interval.mean) and interval.place not in failed)
    ]


def _wanted(
    loaded: Loaded, store: Store, errors: Mapping[str, str], until: Until
) -> dict[str, int]:
    """Point of the grid -> number of seeds, where that is more than there are."""
    wanted: dict[str, int] = {}
    failed = _failed(loaded, errors)
    for interval in _intervals(loaded, store, errors, until):
        if interval.excess > 1 and interval.place not in failed:
            guess = math.ceil(interval.seeds * min(interval.excess**2, 2.0))
            count = min(max(guess, interval.seeds + 1), until.max_seeds)
            if count > interval.seeds:
                wanted[interval.place] = max(wanted.get(interval.place, 0), count)
    return wanted


def _failed(loaded: Loaded, errors: Mapping[str, str]) -> set[str]:
    """The points of the grid at which a run failed, or one that it is compared with."""
    alone = {key: point.key for key, point in loaded.alone.items()}
    points = loaded.points if errors else ()
    return {grid_point(p) for p in points if p.key in errors or alone.get(p.key) in errors}


def _intervals(
    loaded: Loaded, store: Store, errors: Mapping[str, str], until: Until
) -> Iterator[Interval]:
    """Every measure under every system at every point of the grid."""
    runs: dict[tuple[str, str], list[PointResult]] = {}
    for point in loaded.points:
        result = store.read(point.labels, point.key, errors.get(point.key, ""))
        alone = loaded.alone.get(point.key)
        if alone is not None:
            result = result.beside(store.read(alone.labels, alone.key, errors.get(alone.key, "")))
        runs.setdefault((str(point.labels["system"]), grid_point(point)), []).append(result)
    for (_, place), results in runs.items():
        labels = {name: v for name, v in results[0].labels.items() if name != "seed"}
        for width in until.widths:
            sample = _sample(results, width)
            known = sample.size > 1
            mean, half = (sample.mean(), half_width(sample)) if known else (np.nan, np.nan)
            yield Interval(labels, place, width, float(mean), float(half), len(results))


def _sample(results: Sequence[PointResult], width: Width) -> NDArray[np.float64]:
    values = [value_of(result, width.measure) for result in results if not result.error]
    sample = np.array(values, np.float64)
    return sample[~np.isnan(sample)]
