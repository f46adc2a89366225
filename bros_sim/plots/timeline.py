"""Timeline of one run per system: batch size, queue and KV use, by class."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes as Panel
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bros_sim.plots.spec import FigureSpec, PointView, Results, axes_of, matches
from bros_sim.plots.style import (
    CLASS_COLOURS,
    CLASS_NAMES,
    COLUMN_IN,
    PAGE_IN,
    counted,
    finish,
    new_figure,
)

BINS = 240
HEIGHT_IN = 3.1
Floats = NDArray[np.float64]
ROWS = ("Batch\n(requests)", "Queue\n(requests)", "KV use\n(1,000 tokens)")


def timeline(spec: FigureSpec, results: Results) -> Figure:
    """Means over 1/240 of the run, summed over the replicas; the first seed of every system."""
    axes = axes_of(results.points)
    points = _first_of_each_system(results.points, dict(spec.where))
    figure = new_figure(COLUMN_IN if len(points) == 1 else PAGE_IN, HEIGHT_IN)
    grid = figure.subplots(3, len(points), sharex=True, sharey="row", squeeze=False)
    runs = [(point, point.requests()["arrival_s"], point.steps()) for point in points]
    end = max(max(_last(steps["end_s"]), _last(arrivals)) for _, arrivals, steps in runs) or 1.0
    edges = np.linspace(0.0, end, BINS + 1)
    for column, (point, arrivals, steps) in zip(grid.T, runs, strict=True):
        column[0].set_title(str(point.labels["system"]))
        _draw(column, steps, edges, _last(arrivals))
        column[-1].set_xlabel("Time (s)")
        column[-1].set_xlim(0, end)
    for panel, label in zip(grid[:, 0], ROWS, strict=True):
        panel.set_ylabel(label)
        panel.set_ylim(bottom=0)
        panel.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    figure.align_ylabels(list(grid[:, 0]))
    requests = sum(len(arrivals) for _, arrivals, _ in runs)
    note = f"seed {axes['seed'][0]}, {counted(requests, 'request')} in all; dotted: last arrival"
    return finish(figure, spec.title, note)


def _first_of_each_system(points: Sequence[PointView], where: dict[str, object]) -> list[PointView]:
    found: dict[object, PointView] = {}
    for point in points:
        if not point.error and matches(point, where):
            found.setdefault(point.labels["system"], point)
    return list(found.values())


def _last(times: "pd.Series[float]") -> float:
    return float(times.max()) if len(times) else 0.0


def _draw(
    column: Sequence[Panel], steps: pd.DataFrame, edges: Floats, last_arrival_s: float
) -> None:
    growth = (steps["repeat"] - 1) * steps["decode_jobs"] / 2
    kv_share = steps["kv_tokens_rt"] / steps["kv_tokens"].clip(lower=1)
    kv = (steps["kv_tokens"] + growth) / 1_000
    stacks = (
        (steps["running_rt"], steps["running_be"]),
        (steps["waiting_rt"], steps["waiting_be"]),
        (kv * kv_share, kv * (1 - kv_share)),
    )
    for panel, (rt, be) in zip(column, stacks, strict=True):
        low = _means(steps, rt, edges)
        high = low + _means(steps, be, edges)
        _stack(panel, edges, np.zeros(BINS), low, "rt")
        _stack(panel, edges, low, high, "be")
        panel.axvline(last_arrival_s, color="#555555", linewidth=0.7, linestyle=":")


def _stack(panel: Panel, edges: Floats, low: Floats, high: Floats, name: str) -> None:
    panel.stairs(
        high, edges, baseline=low, fill=True, color=CLASS_COLOURS[name], label=CLASS_NAMES[name],
        linewidth=0,
    )  # fmt: skip


def _means(steps: pd.DataFrame, values: "pd.Series[float]", edges: Floats) -> Floats:
    """Mean of a state over each bin, summed over the replicas; 0 while a replica is idle."""
    total = np.zeros(edges.size - 1)
    for _, rows in steps.groupby("replica", sort=True):
        knots = rows[["start_s", "end_s"]].to_numpy(float).ravel()
        area = np.zeros(knots.size)
        area[1::2] = values.loc[rows.index].to_numpy(float) * (knots[1::2] - knots[::2])
        reached = np.interp(edges, knots, np.cumsum(area), left=0.0)
        total += np.diff(reached) / np.diff(edges)
    return total
