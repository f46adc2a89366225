"""A whole experiment: every point, and more seeds where ``sweep.until`` asks for them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from bros_sim.core.labels import counted
from bros_sim.experiment import Loaded, Point
from bros_sim.experiment.sweep import Until
from bros_sim.metrics.intervals import half_width
from bros_sim.metrics.measures import Width
from bros_sim.study.results import Labels, PointResult, label_words, seedless
from bros_sim.study.study import Search, Study, Trial, Watch


@dataclass(frozen=True)
class Interval:
    """One of the intervals that are asked for: a measure of a system at a point of the grid.

    ``mean`` and ``half_width`` are NaN if fewer than two of the ``seeds`` have the measure.
    """

    labels: Labels
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


@dataclass
class Cell:
    """A system at a point of the grid, with all its seeds."""

    points: list[Point]
    results: list[PointResult] = field(default_factory=list)
    failed: bool = False

    @property
    def place(self) -> str:
        """The point of the grid, the same for all systems."""
        return self.points[0].place

    def learn(self, trial: Trial) -> None:
        """Add the runs of further seeds."""
        self.results += trial.results
        self.failed |= bool(trial.error)

    def intervals(self, until: Until) -> Iterator[Interval]:
        """Those that are asked for."""
        labels = seedless(self.points[0].labels)
        for width in until.widths:
            sample = _sample(self.results, width)
            known = sample.size > 1
            mean, half = (sample.mean(), half_width(sample)) if known else (np.nan, np.nan)
            yield Interval(labels, width, float(mean), float(half), len(self.results))

    def more(self, count: int) -> list[Point]:
        """Points with further seeds, until there are ``count``."""
        last = self.points[-1]
        more = range(1, 1 + count - len(self.points))
        new = [last.with_seed(last.spec.seed + n) for n in more]
        self.points += new
        return new


@dataclass(frozen=True)
class Swept:
    """The answer of a sweep: results in the order systems x grid x seeds, and those of draws."""

    cells: Sequence[Cell]
    drawn: Sequence[PointResult]
    until: Until | None

    @property
    def results(self) -> list[PointResult]:
        """Of all cells."""
        return [result for cell in self.cells for result in cell.results]

    def too_wide(self) -> list[Interval]:
        """The intervals that are wider than asked after all seeds, and those that do not exist.

        Where a run failed, a measure without a value is left out.
        """
        if not self.until:
            return []
        failed = _failed(self.cells)
        return [
            interval
            for cell in self.cells
            for interval in cell.intervals(self.until)
            if interval.excess > 1 or (math.isnan(interval.mean) and cell.place not in failed)
        ]


def sweep(experiment: Loaded, watch: Watch) -> Search[Swept]:
    """Every point; then more seeds while an interval is too wide.

    Every point of the grid has the same seeds under all systems. Which come next depends on
    results only, so a sweep that was interrupted takes the same way again. A point of the grid at
    which a run failed gets no more.
    """
    groups = groupby(experiment.points, lambda point: (point.labels["system"], point.place))
    cells = [Cell(list(points)) for _, points in groups]
    until = experiment.spec.sweep.until
    *trials, drawn = yield [*(cell.points for cell in cells), experiment.drawn]
    for cell, trial in zip(cells, trials, strict=True):
        cell.learn(trial)
    while until and (counts := _wanted(cells, until)):
        growing = [cell for cell in cells if cell.place in counts]
        new = [cell.more(counts[cell.place]) for cell in growing]
        watch.say(_more(len(counts), new))
        further = yield new
        for cell, trial in zip(growing, further, strict=True):
            cell.learn(trial)
    return Swept(cells, drawn.results, until)


def _more(places: int, new: Sequence[Sequence[Point]]) -> str:
    points = [point for points in new for point in points]
    runs = len({p.key for point in points for p in (point, point.baseline) if p})
    where = f"{counted(places, 'point')} of the grid"
    return f"wider than sweep.until asks at {where}: {counted(runs, 'run')} with more seeds"


def _wanted(cells: Sequence[Cell], until: Until) -> Mapping[str, int]:
    """Point of the grid -> number of seeds, where that is more than there are."""
    wanted: dict[str, int] = {}
    failed = _failed(cells)
    for cell in cells:
        for interval in cell.intervals(until):
            if interval.excess > 1 and cell.place not in failed:
                guess = math.ceil(interval.seeds * min(interval.excess**2, 2.0))
                count = min(max(guess, interval.seeds + 1), until.max_seeds)
                if count > interval.seeds:
                    wanted[cell.place] = max(wanted.get(cell.place, 0), count)
    return wanted


def _failed(cells: Sequence[Cell]) -> set[str]:
    """The points of the grid at which a run failed, or one that it is compared with."""
    return {cell.place for cell in cells if cell.failed}


def _sample(results: Sequence[PointResult], width: Width) -> NDArray[np.float64]:
    values = [result.value(width.measure) for result in results if not result.error]
    sample = np.array(values, np.float64)
    return sample[~np.isnan(sample)]


def failures(experiment: Loaded, swept: Swept, study: Study) -> Iterator[str]:
    """A line for each point that failed, then for each BE-only baseline."""
    for result in [*swept.results, *swept.drawn]:
        if result.error:
            yield f"failed: {_labels(result.labels)}: {result.error}"
    points = [*(point for cell in swept.cells for point in cell.points), *experiment.drawn]
    baselines = {p.baseline.key: p.baseline for p in points if p.baseline}
    for key, baseline in baselines.items():
        if key in study.errors:
            yield f"failed, BE-only baseline: {_labels(baseline.labels)}: {study.errors[key]}"


def _labels(labels: Labels) -> str:
    return ", ".join(f"{name}={value}" for name, value in labels.items())
