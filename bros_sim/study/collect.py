"""The results of an experiment, and the files about all of its points."""

from dataclasses import asdict, dataclass

import pandas as pd

from bros_sim.experiment import Loaded
from bros_sim.metrics.capacity import capacities, capacities_by_draw, orders, with_bands
from bros_sim.metrics.intervals import means
from bros_sim.study.results import ResultSet
from bros_sim.study.store import Store
from bros_sim.study.sweep import Swept


@dataclass(frozen=True)
class Capacity:
    """The table of `capacities`, and of `orders` where there are draws; no rows if none apply."""

    rates: pd.DataFrame
    orders: pd.DataFrame


def collect(experiment: Loaded, swept: Swept, store: Store) -> tuple[ResultSet, Capacity]:
    """The results of all points and the capacities read off them; both are written as well."""
    results = ResultSet(experiment.spec.name, store.folder, swept.results, swept.drawn)
    capacity = _capacity(experiment, results)
    store.write_summary(results)
    store.write_table("means.csv", means(results.table(), results.cells))
    if experiment.spec.outputs.tables == "csv":
        store.write_tables_as_csv(results)
    store.write_table("capacity.csv", capacity.rates)
    streams = [asdict(checked) for checked in experiment.streams]
    store.write_provenance(experiment.document.data, results, experiment.contents, streams)
    return results, capacity


def _shared_seeds(results: ResultSet) -> set[object]:
    """The seeds of all points of the grid: ``sweep.until`` may give some of them more."""
    seeds: dict[str, set[object]] = {}
    for point in results.points:
        place = {name: value for name, value in point.labels.items() if name != "seed"}
        seeds.setdefault(repr(place), set()).add(point.labels["seed"])
    return set.intersection(*seeds.values())


def _capacity(experiment: Loaded, results: ResultSet) -> Capacity:
    """No rows unless the sweep is over one real-time load and there is an attainment."""
    loads, table = experiment.loads, results.table()
    if len(loads) != 1 or table[loads[0]].nunique() < 2 or "slo_attainment" not in table:
        return Capacity(pd.DataFrame(), pd.DataFrame())
    by = [name for name in experiment.points[0].labels if name not in {loads[0], "seed"}]
    table = table[table["seed"].isin(_shared_seeds(results))]
    rates = capacities(table, loads[0], by)
    if not results.drawn:
        return Capacity(rates, pd.DataFrame())
    by_draw = capacities_by_draw(table, results.draws(), loads[0], by)
    return Capacity(with_bands(rates, by_draw, by), orders(by_draw, by))
