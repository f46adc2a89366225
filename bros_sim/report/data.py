"""What the charts of the page show: how a sweep is laid out, and plain, rounded rows."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bros_sim.core.labels import short_names
from bros_sim.metrics.catalogue import METRICS
from bros_sim.metrics.intervals import band, half_width, shifted
from bros_sim.plots.cdf import CDF_METRICS, sample
from bros_sim.plots.spec import Axes, PointView, Results, label, matches, of_class, select
from bros_sim.plots.style import path_label, shown
from bros_sim.plots.timeline import binned_means, run_states
from bros_sim.report.tables import Table

MAX_RUNS = 40  # systems x settings whose latency CDFs and timelines the page holds
MAX_ROWS = 1_500  # systems x settings that the curves hold
LOAD = ".arrivals.rate_rps"
Row = dict[str, Any]
Floats = NDArray[np.float64]
ATTAINMENT, SERVED, VERDICT = "slo_attainment", "output_throughput_steady", "saturation"
SHOWN = (ATTAINMENT, SERVED, VERDICT)
STEPS = 100  # points of a latency CDF
BINS = 150  # points of a timeline
SERIES = ("batch", "queue", "kv")
VERDICTS = ("stable", "backlogged", "overloaded", "too short")


@dataclass(frozen=True)
class Setting:
    """One value of each sweep path; ``x`` is a position among values, ``cell`` several: ``0,2``."""

    labels: Mapping[str, object]
    x: int
    cell: str


@dataclass(frozen=True)
class Layout:
    """The sweep paths with more than one value: ``x`` (``numeric``: of numbers), and others."""

    axes: Axes
    x: str | None
    others: Sequence[str]
    numeric: bool

    @property
    def systems(self) -> list[str]:
        """Their names, in order."""
        return [str(name) for name in self.axes["system"]]

    @property
    def keys(self) -> list[str]:
        """The columns that tell the curves' points apart."""
        return ["system", *self.others, *([self.x] if self.x else [])]

    @property
    def x_values(self) -> Sequence[object]:
        """The values along x; a single empty one without a sweep."""
        return self.axes[self.x] if self.x else [""]

    @property
    def x_title(self) -> str:
        """What the x axis is called."""
        return path_label(self.x) if self.x else ""

    @property
    def choices(self) -> list[tuple[str, list[str]]]:
        """Short name and values of each path that has a choice of its own."""
        names = short_names(self.axes)
        return [(names[path], [shown(v) for v in self.axes[path]]) for path in self.others]

    @property
    def most_settings(self) -> int:
        """How many settings the curves can hold."""
        return max(1, MAX_ROWS // len(self.systems))

    def settings(self) -> Iterator[Setting]:
        """Every setting of the grid; x varies fastest."""
        for picks in product(*(range(len(self.axes[path])) for path in self.others)):
            chosen = {p: self.axes[p][n] for p, n in zip(self.others, picks, strict=True)}
            for number, value in enumerate(self.x_values):
                labels = {**chosen, self.x: value} if self.x else chosen
                yield Setting(labels, number, ",".join(map(str, picks)))

    def runs(self) -> list[Setting]:
        """The settings whose runs the page can hold: all, or as many evenly spread ones."""
        every = list(self.settings())
        most = max(1, MAX_RUNS // len(self.systems))
        if len(every) <= most:
            return every
        return [every[round(n * (len(every) - 1) / max(1, most - 1))] for n in range(most)]


def layout_of(axes: Axes) -> Layout:
    """A swept load goes along x; else the first path of numbers, else the first path."""
    swept = [n for n, values in axes.items() if n not in {"system", "seed"} and len(values) > 1]
    by_rank = sorted(swept, key=lambda path: (not path.endswith(LOAD), not _numeric(axes[path])))
    x = by_rank[0] if by_rank else None
    others = [path for path in swept if path != x]
    return Layout(axes, x, others, x is not None and _numeric(axes[x]))


def _numeric(values: Sequence[object]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def attainment_rows(
    table: pd.DataFrame, draws: pd.DataFrame, layout: Layout, service_class: str
) -> list[Row]:
    """SLO attainment in per cent: its mean over seeds, the 95 % interval, the band over draws."""
    nominal = _class_rows(table, service_class)
    groups, moved = _groups(nominal, layout), {}
    if not draws.empty:
        drawn = _class_rows(draws, service_class)
        moved = _groups(shifted(nominal, drawn, layout.keys, ATTAINMENT), layout)
    rows = []
    for setting, system, key in _places(layout, groups.keys()):
        group = groups[key]
        values = _known(group, ATTAINMENT) * 100
        if not values.size:
            continue
        y, low, high = _per_cent(values)
        place = _place(setting, system, layout) | {"seeds": len(values), "load": _verdicts(group)}
        row = place | {"y": y, "low": low, "high": high}
        if key in moved:
            ends = band(moved[key][ATTAINMENT].to_numpy(float) * 100)
            row["least"], row["most"] = (_short(min(max(end, 0.0), 100.0)) for end in ends)
        rows.append(row)
    return rows


def pareto_rows(table: pd.DataFrame, layout: Layout) -> list[Row]:
    """RT's mean attainment (%) and BE's tokens/s; ``best`` where no system gives both more."""
    rt, be = (_groups(_class_rows(table, name), layout) for name in ("rt", "be"))
    rows: list[Row] = []
    for setting, system, key in _places(layout, rt.keys() & be.keys()):
        good, served = _known(rt[key], ATTAINMENT) * 100, _known(be[key], SERVED)
        if good.size and served.size and served.any():
            place = _place(setting, system, layout)
            (x, x_low, x_high), y_half = _per_cent(good), half_width(served)
            y = float(served.mean())
            rows.append({
                **place, "at": place["x"], "load": _verdicts(rt[key]),
                "rt": x, "rt_low": x_low, "rt_high": x_high,
                "be": _short(y), "be_low": _short(y - y_half), "be_high": _short(y + y_half),
            })  # fmt: skip
    rivals: dict[tuple[object, object], list[Row]] = {}
    for row in rows:
        rivals.setdefault((row["cell"], row["at"]), []).append(row)
    for row in rows:
        beside = rivals[row["cell"], row["at"]]
        row["best"] = not any(_dominates(other, row) for other in beside)
    return rows


def _dominates(one: Row, other: Row) -> bool:
    at_least = one["rt"] >= other["rt"] and one["be"] >= other["be"]
    return bool(at_least and (one["rt"], one["be"]) != (other["rt"], other["be"]))


def cdf_rows(results: Results, layout: Layout) -> list[Row]:
    """Latency CDFs of the settings that the page holds, all seeds pooled; seconds, per cent."""
    rows = []
    for setting, system, points in _runs(results, layout):
        table = pd.concat([point.requests() for point in points], ignore_index=True)
        for service_class in ("rt", "be"):
            mine = of_class(table, service_class)
            for metric in CDF_METRICS:
                values, arrived = sample(mine, metric)
                if not values.size:
                    continue
                at = np.unique(np.linspace(0, values.size - 1, STEPS).round().astype(int))
                slos = mine[f"{metric}_slo_s"].unique()
                rows.append({
                    **_run_place(setting, system), "class": service_class, "metric": metric,
                    "v": _all_short(values[at]), "p": _all_short(100 * (at + 1) / arrived),
                    "slo": _short(slos[0]) if len(slos) == 1 else None,
                })  # fmt: skip
    return rows


def timeline_rows(results: Results, table: pd.DataFrame, layout: Layout) -> list[Row]:
    """Batch, queue and KV (%) by class, means over 1/150 of the first seed, over all replicas."""
    rows = []
    for setting, system, points in _runs(results, layout):
        point = points[0]
        steps, arrived = point.steps(), point.requests()["arrival_s"]
        if steps.empty:
            continue
        labels = {name: label(value) for name, value in point.labels.items()}
        run = select(table, labels | {"class": "all"}).iloc[0]
        edges = np.linspace(0.0, float(steps["end_s"].max()), BINS + 1)
        row = {
            **_run_place(setting, system), "seed": labels["seed"], "t": _all_short(edges[:-1]),
            "arrived": _short(arrived.max()), "end": _short(edges[-1]),
        }  # fmt: skip
        for name, state in zip(SERIES, run_states(steps, run), strict=True):
            for service_class in ("rt", "be"):
                means = binned_means(steps, state[service_class], edges)
                row[f"{name}_{service_class}"] = _all_short(means)
        rows.append(row)
    return rows


def verdict_table(table: pd.DataFrame) -> Table:
    """How many points of each system and class are a steady state."""
    table = table[(table["error"] == "") & (table["class"] != "all")]
    if table.empty:
        return Table([], [])
    table = table[table["arrived"].astype(float) > 0]
    rows = []
    for (system, service_class), group in table.groupby(["system", "class"], sort=False):
        counts = [str((group[VERDICT] == kind).sum()) for kind in VERDICTS]
        rows.append([str(system), str(service_class), *counts])
    return Table(["system", "class", *VERDICTS], rows)


def _class_rows(table: pd.DataFrame, service_class: str) -> pd.DataFrame:
    """The rows of a class of points that did not fail; of the metrics those that curves show."""
    unused = [name for name in table if name in METRICS and name not in SHOWN]
    return table[(table["class"] == service_class) & (table["error"] == "")].drop(columns=unused)


def _known(rows: pd.DataFrame, metric: str) -> Floats:
    return np.asarray(rows[metric].astype(float).dropna(), np.float64)


def _per_cent(values: Floats) -> tuple[float | None, float | None, float | None]:
    """Mean of shares and the ends of its 95 % t interval."""
    mean, half = float(values.mean()), half_width(values)
    return _short(mean), _short(max(0.0, mean - half)), _short(min(100.0, mean + half))


def _verdicts(group: pd.DataFrame) -> str:
    return ", ".join(dict.fromkeys(str(verdict) for verdict in group[VERDICT]))


def _groups(table: pd.DataFrame, layout: Layout) -> dict[tuple[str, ...], pd.DataFrame]:
    """System and texts of the setting's labels -> the seeds (or draws) there."""
    keys = [table[name].map(shown) for name in layout.keys]
    return dict(iter(table.groupby(keys, sort=False)))  # type: ignore[arg-type]


def _places(
    layout: Layout, known: Set[tuple[str, ...]]
) -> Iterator[tuple[Setting, str, tuple[str, ...]]]:
    """Each setting that the curves can hold, of each system, with its key, if that is known."""
    settings = list(layout.settings())[: layout.most_settings]
    for system in layout.systems:
        for setting in settings:
            key = (system, *(shown(value) for value in setting.labels.values()))
            if key in known:
                yield setting, system, key


def _runs(results: Results, layout: Layout) -> Iterator[tuple[Setting, str, Sequence[PointView]]]:
    """The seeds that did not fail, of each system at each setting that the page holds."""
    for setting in layout.runs():
        for system in layout.systems[:MAX_RUNS]:
            labels = {"system": system, **setting.labels}
            points = [p for p in results.points if not p.error and matches(p, labels)]
            if points:
                yield setting, system, points


def _place(setting: Setting, system: str, layout: Layout) -> Row:
    value = layout.x_values[setting.x]
    return {"system": system, "cell": setting.cell, "x": value if layout.numeric else str(value)}


def _run_place(setting: Setting, system: str) -> Row:
    return {"system": system, "cell": setting.cell, "at": setting.x}


def _short(value: float) -> float | None:
    """Four digits: a third of the bytes, and no eye sees the rest."""
    return float(f"{value:.4g}") if np.isfinite(value) else None


def _all_short(values: Floats) -> list[float | None]:
    return [_short(value) for value in values]


def has_attainment(table: pd.DataFrame, service_class: str) -> bool:
    """Whether any point has an SLO attainment of the class."""
    rows = _class_rows(table, service_class)
    return ATTAINMENT in rows and bool(rows[ATTAINMENT].notna().any())
