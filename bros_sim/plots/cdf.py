"""Latency CDF: how many of the requests got their token by then, per system and class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import pandas as pd
from annotated_doc import Doc
from matplotlib.axes import Axes as Panel
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bros_sim.config.messages import nearest
from bros_sim.core.labels import short_names
from bros_sim.metrics.catalogue import metric_name
from bros_sim.metrics.measures import WORDS
from bros_sim.plots import spec
from bros_sim.plots.spec import Axes, ClassName, Faults, FigureSpec, PointView, Results
from bros_sim.plots.style import DARK, HAIRLINE, finish, held, label_axes, look, per_cent, spread

CDF_METRICS = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "E2E latency"}
"""Latencies of single requests -> what their axis is called."""
MAX_STEPS = 800
LINE_STYLES = {"rt": "-", "be": (0, (3, 1.5)), "all": "-"}


@dataclass(frozen=True, kw_only=True)
class LatencyCdf(FigureSpec):
    """CDF of ``metric`` over all seeds; a request that never got there keeps it below 100 %."""

    metric: Annotated[str | None, Doc("ttft | tpot | e2e; ttft")] = None
    service_class: Annotated[ClassName | None, Doc("requests shown; rt and be")] = field(
        default=None, metadata=spec.CLASS_KEY
    )

    @property
    def needs(self) -> str:
        return metric_name(self.metric or "ttft")

    def words(self, names: Mapping[str, str]) -> tuple[str | None, ...]:
        return self.metric, self.service_class

    def faults(self, axes: Axes) -> Faults:
        if self.needs not in CDF_METRICS:
            hint = nearest(str(self.metric), CDF_METRICS)
            yield "metric", f"there is no latency '{self.metric}'{hint}"

    def shows(self, points: Sequence[PointView], table: pd.DataFrame) -> bool:
        return bool(self._classes(points))

    def _classes(self, points: Sequence[PointView]) -> list[str]:
        """The classes asked for of which there is a request with this latency."""
        asked = [self.service_class] if self.service_class else ["rt", "be"]
        latencies = f"{self.needs}_s"
        return [
            name
            for name in asked
            if any(spec.of_class(p.requests(), name)[latencies].notna().any() for p in points)
        ]

    def draw(self, results: Results) -> Figure:
        axes, points = spec.axes_of(results.points), spec.shown_points(self, results)
        classes = self._classes(points)
        figure, drawn = self.open_panels(axes)
        requests = 0
        for panel, choice in drawn.items():
            for number, system in enumerate(axes["system"]):
                labels = choice | {"system": system}
                chosen = [p.requests() for p in points if spec.matches(p, labels)]
                if chosen:
                    table = pd.concat(chosen, ignore_index=True)
                    requests += _curves(panel, table, self.needs, classes, (str(system), number))
                    _slo_line(panel, table, self.needs, classes)
        _dress(list(drawn), self.needs, classes)
        seeds = [point.labels["seed"] for point in points]
        note = held(seeds, len(points), requests, self.fixed(short_names(axes)))
        return finish(figure, self.title, f"{note}; seeds pooled" if len(set(seeds)) > 1 else note)


def _curves(
    panel: Panel, table: pd.DataFrame, metric: str, classes: list[str], system: tuple[str, int]
) -> int:
    """Draw the classes of one system; the number of requests they stand for."""
    name, number = system
    colour, marker = look(number)
    total = 0
    for service_class in classes:
        mine = spec.of_class(table, service_class)
        values, arrived = sample(mine, metric)
        total += len(mine)
        if not values.size:
            continue
        at = np.unique(np.linspace(0, values.size - 1, MAX_STEPS).astype(int))
        panel.step(
            values[at], 100 * (at + 1) / arrived, where="post",
            color=colour, linestyle=LINE_STYLES[service_class], marker=marker,
            markevery=(0.05 + 0.04 * (number % 8), 0.25), label=name,
        )  # fmt: skip
    return total


def sample(table: pd.DataFrame, metric: str) -> tuple[np.ndarray, int]:
    """Sorted latencies, and the requests that should have one (no TPOT for one token)."""
    values = table[f"{metric}_s"].to_numpy(float)
    missing = np.isnan(values)
    unserved = missing & (table["status"] != "completed").to_numpy(bool)
    return np.sort(values[~missing]), int((~missing).sum() + unserved.sum())


def _dress(drawn: list[Panel], metric: str, classes: list[str]) -> None:
    ends = [np.asarray(art.get_xdata(), float) for panel in drawn for art in panel.lines]
    values = np.concatenate(ends)
    low, high = float(np.quantile(values, 0.02)), float(values.max())
    unit, scale = ("ms", 1e3) if high < 0.5 else ("s", 1.0)
    for panel in drawn:
        if spread(np.array([low, high])):
            panel.set_xscale("log")
            panel.set_xlim(low * 0.8, high * 1.05)
        else:
            width = (high - low) or high or 1.0  # all values may be the same
            panel.set_xlim(max(0.0, low - 0.3 * width), high + 0.1 * width)
        per_cent(panel, 102)
        panel.xaxis.set_major_formatter(FuncFormatter(lambda s, _: f"{s * scale:g}"))
    who = {"rt": "Real-time requests", "be": "Best-effort requests"} if len(classes) == 1 else {}
    y = f"{who.get(classes[0], 'Requests')} (%)"
    label_axes(drawn, f"{CDF_METRICS[metric]} ({unit})", y)
    for name in classes if len(classes) > 1 else ():
        drawn[0].plot([], [], color=DARK, linestyle=LINE_STYLES[name], label=WORDS[name])


def _slo_line(panel: Panel, table: pd.DataFrame, metric: str, classes: list[str]) -> None:
    """The SLO of the class shown first, where all of its requests have the same."""
    slos = spec.of_class(table, classes[0])[f"{metric}_slo_s"].unique()
    if len(slos) == 1 and np.isfinite(slos[0]) and not panel.texts:
        panel.axvline(slos[0], linestyle=":", zorder=1, **HAIRLINE)
        panel.annotate(
            "SLO", (slos[0], 1), xycoords=("data", "axes fraction"), xytext=(0, 1), ha="center",
            textcoords="offset points", fontsize=6, color=DARK, annotation_clip=True,
        )  # fmt: skip
