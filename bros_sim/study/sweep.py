"""A whole experiment: every point, more seeds where ``sweep.until`` asks for them, the tables."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby

import numpy as np
import pandas as pd

from bros_sim.core.labels import counted
from bros_sim.experiment import Loaded, Point
from bros_sim.experiment.sweep import Until
from bros_sim.metrics.capacity import capacities, capacities_by_draw, orders, with_bands
from bros_sim.metrics.intervals import half_width, means
from bros_sim.metrics.measures import Width
from bros_sim.study.results import Labels, PointResult, ResultSet, label_words, seedless
from bros_sim.study.store import Store, write_tables_as_csv
from bros_sim.study.study import Search, Study, Trial, Watch


@dataclass(frozen=True)
class Interval:
    """A measure of a system at a point of the grid; NaN where not two of the ``seeds`` have it."""

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
        well = [result for result in self.results if not result.error]
        for width in until.widths:
            sample = np.array([result.value(width.measure) for result in well], np.float64)
            sample = sample[~np.isnan(sample)]
            mean, half = (sample.mean(), half_width(sample)) if sample.size > 1 else (np.nan,) * 2
            yield Interval(labels, width, float(mean), float(half), len(self.results))

    def more(self, count: int) -> list[Point]:
        """Points with further seeds, until there are ``count``."""
        last = self.points[-1]
        further = range(1, 1 + count - len(self.points))
        new = [last.with_seed(last.spec.seed + n) for n in further]
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

    def too_wide(self) -> Iterator[Interval]:
        """The intervals that are too wide after all seeds; missing ones, where no run failed."""
        if self.until is None:
            return
        failed = _failed(self.cells)
        for cell in self.cells:
            for interval in cell.intervals(self.until):
                missing = math.isnan(interval.mean) and cell.place not in failed
                if missing or interval.excess > 1:
                    yield interval


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
        points = [point for points in new for point in points]
        runs = len({p.key for point in points for p in (point, point.baseline) if p})
        where = f"wider than sweep.until asks at {counted(len(counts), 'point')} of the grid"
        watch.say(f"{where}: {counted(runs, 'run')} with more seeds")
        further = yield new
        for cell, trial in zip(growing, further, strict=True):
            cell.learn(trial)
    return Swept(cells, drawn.results, until)


def _wanted(cells: Sequence[Cell], until: Until) -> Mapping[str, int]:
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


@dataclass(frozen=True)
class Capacity:
    """The table of `capacities`, and of `orders` where there are draws; no rows if none apply."""

    rates: pd.DataFrame
    orders: pd.DataFrame


def collect(experiment: Loaded, swept: Swept, store: Store) -> tuple[ResultSet, Capacity]:
    """The results of all points and the capacities read off them; both are written as well."""
    results = ResultSet(experiment.spec.name, store.folder, swept.results, swept.drawn)
    capacity = _capacity(experiment, results)
    store.write_table("summary.csv", results.summary())
    store.write_table("means.csv", means(results.table(), results.cells))
    if experiment.spec.outputs.tables == "csv":
        write_tables_as_csv(results)
    store.write_table("capacity.csv", capacity.rates)
    store.write_provenance(
        results,
        inputs={name: sha for point in experiment.points for name, sha in point.contents.items()},
        streams=[asdict(checked) for checked in experiment.streams],
        experiment=experiment.document.data,
    )
    return results, capacity


def _capacity(experiment: Loaded, results: ResultSet) -> Capacity:
    """No rows unless the sweep is over one real-time load and there is an attainment."""
    loads, table = experiment.loads, results.table()
    if len(loads) != 1 or table[loads[0]].nunique() < 2 or "slo_attainment" not in table:
        return Capacity(pd.DataFrame(), pd.DataFrame())
    by = [name for name in results.cells if name != loads[0]]
    seeds: dict[str, set[object]] = {}
    for point in results.points:
        seeds.setdefault(repr(seedless(point.labels)), set()).add(point.labels["seed"])
    shared = set.intersection(*seeds.values())  # sweep.until may give some points more
    table = table[table["seed"].isin(shared)]
    rates = capacities(table, loads[0], by)
    if not results.drawn:
        return Capacity(rates, pd.DataFrame())
    by_draw = capacities_by_draw(table, results.draws(), loads[0], by)
    return Capacity(with_bands(rates, by_draw, by), orders(by_draw, by))
