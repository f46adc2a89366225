"""Latency CDF: how many of the requests got their token by then, per system and class."""

from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes as Panel
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bros_sim.core.labels import short_names
from bros_sim.metrics.catalogue import metric_name
from bros_sim.plots.spec import (
    CDF_METRICS,
    FigureSpec,
    Results,
    axes_of,
    fixed,
    has_values,
    matches,
    of_class,
    open_axes,
)
from bros_sim.plots.style import (
    CLASS_NAMES,
    finish,
    held,
    label_axes,
    look,
    panel_title,
    panels,
    spread,
)

HEIGHT_IN = 2.35
MAX_STEPS = 800
LINE_STYLES = {"rt": "-", "be": (0, (3, 1.5)), "all": "-"}


def latency_cdf(spec: FigureSpec, results: Results) -> Figure:
    """CDF of ``metric`` over all seeds; a request that never got there keeps it below 100 %."""
    metric = metric_name(spec.metric or "ttft")
    axes = axes_of(results.points)
    points = [p for p in results.points if not p.error and matches(p, dict(spec.where))]
    asked = [spec.service_class] if spec.service_class else ["rt", "be"]
    classes = [name for name in asked if any(has_values(p, name, metric) for p in points)]
    left = open_axes(spec, axes, "system")
    choices = [dict(zip(left, values, strict=True)) for values in product(*(axes[n] for n in left))]
    names = short_names(axes)
    figure, drawn = panels([panel_title(choice, names) for choice in choices], HEIGHT_IN)
    requests = 0
    for panel, choice in zip(drawn, choices, strict=True):
        for number, system in enumerate(axes["system"]):
            chosen = [p.requests() for p in points if matches(p, choice | {"system": system})]
            if chosen:
                table = pd.concat(chosen, ignore_index=True)
                requests += _curves(panel, table, metric, classes, (str(system), number))
                _slo_line(panel, table, metric, classes)
    _dress(drawn, metric, classes)
    seeds = [point.labels["seed"] for point in points]
    note = held(seeds, len(points), requests, fixed(spec, names))
    return finish(figure, spec.title, f"{note}; seeds pooled" if len(set(seeds)) > 1 else note)


def _curves(
    panel: Panel, table: pd.DataFrame, metric: str, classes: list[str], system: tuple[str, int]
) -> int:
    """Draw the classes of one system; the number of requests they stand for."""
    name, number = system
    colour, marker = look(number)
    total = 0
    for service_class in classes:
        mine = of_class(table, service_class)
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
        panel.set_ylim(0, 102)
        panel.set_yticks(range(0, 101, 20))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda s, _: f"{s * scale:g}"))
    who = {"rt": "Real-time requests", "be": "Best-effort requests"} if len(classes) == 1 else {}
    y = f"{who.get(classes[0], 'Requests')} (%)"
    label_axes(drawn, f"{CDF_METRICS[metric]} ({unit})", y)
    for name in classes if len(classes) > 1 else ():
        drawn[0].plot([], [], color="#555555", linestyle=LINE_STYLES[name], label=CLASS_NAMES[name])


def _slo_line(panel: Panel, table: pd.DataFrame, metric: str, classes: list[str]) -> None:
    """The SLO of the class shown first, where all of its requests have the same."""
    slos = of_class(table, classes[0])[f"{metric}_slo_s"].unique()
    if len(slos) == 1 and np.isfinite(slos[0]) and not panel.texts:
        panel.axvline(slos[0], color="#555555", linewidth=0.7, linestyle=":", zorder=1)
        panel.annotate(
            "SLO", (slos[0], 1), xycoords=("data", "axes fraction"), xytext=(0, 1), ha="center",
            textcoords="offset points", fontsize=6, color="#555555", annotation_clip=True,
        )  # fmt: skip
