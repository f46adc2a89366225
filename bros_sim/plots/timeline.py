"""Timeline of one run per system: batch size, queue and KV use, by class."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes as Panel
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from bros_sim.core.labels import short_names
from bros_sim.metrics.measures import WORDS
from bros_sim.plots import style
from bros_sim.plots.spec import FigureSpec, PointView, Results, axes_of, label, select, shown_points
from bros_sim.plots.style import CLASS_COLOURS, HAIRLINE, finish, held, thousands

BINS = 240
HEIGHT_IN = 3.1
Floats = NDArray[np.float64]
ROWS = ("Batch\n(requests)", "Queue\n(requests)", "KV in use\n(% of blocks)")


@dataclass(frozen=True, kw_only=True)
class Timeline(FigureSpec):
    """Means over 1/240 of the run, summed over the replicas; the first seed of every system."""

    most_panels = 1

    @property
    def needs(self) -> str:
        return "kv_slots"

    def draw(self, results: Results) -> Figure:
        first: dict[object, PointView] = {}
        for point in shown_points(self, results):
            first.setdefault(point.labels["system"], point)
        points = list(first.values())
        figure = style.across(len(points), HEIGHT_IN)
        grid = figure.subplots(3, len(points), sharex=True, sharey="row", squeeze=False)
        runs = [(point, point.requests(), point.steps()) for point in points]
        last_s = [(_last(r["arrival_s"]), _last(steps["end_s"])) for _, r, steps in runs]
        end = max(max(times) for times in last_s) or 1.0
        edges = np.linspace(0.0, end, BINS + 1)
        classes = [c for c in ("rt", "be") if any((r["class"] == c).any() for _, r, _ in runs)]
        table = results.table()
        for column, (point, _, steps), (arrival_s, _) in zip(grid.T, runs, last_s, strict=True):
            column[0].set_title(str(point.labels["system"]))
            row = select(table, {n: label(v) for n, v in point.labels.items()} | {"class": "all"})
            for panel, state in zip(column, run_states(steps, row.iloc[0]), strict=True):
                _stack(panel, steps, state[classes], edges)
            for panel in column:
                panel.axvline(arrival_s, linestyle=":", **HAIRLINE)
            column[-1].set_xlabel("Time (s)")
            column[-1].set_xlim(0, end)
        for panel, what in zip(grid[:, 0], ROWS, strict=True):
            panel.set_ylabel(what)
            panel.set_ylim(0, max(1.0, panel.get_ylim()[1]))
            panel.yaxis.set_major_locator(MaxNLocator(4, integer=True))
            panel.yaxis.set_major_formatter(FuncFormatter(thousands))
        figure.align_ylabels(list(grid[:, 0]))
        requests = sum(len(requests) for _, requests, _ in runs)
        seeds = [point.labels["seed"] for point in points]
        fixed = self.fixed(short_names(axes_of(results.points)))
        note = held(seeds, len(points), requests, fixed)
        return finish(figure, self.title, f"{note}; dotted: last arrival")


def _last(times: "pd.Series[float]") -> float:
    return float(times.max()) if len(times) else 0.0


def run_states(steps: pd.DataFrame, run: "pd.Series[float]") -> list[pd.DataFrame]:
    """One frame for each of ROWS, a column for each class."""
    kv = _blocks_in_use(steps, float(run["kv_blocks"]), float(run["kv_slots"]))
    kv *= 100 / float(run["kv_blocks"]) / float(run["replicas"])
    of_rt = steps["kv_tokens_rt"] / steps["kv_tokens"].clip(lower=1)
    return [
        pd.DataFrame({"rt": steps["running_rt"], "be": steps["running_be"]}),
        pd.DataFrame({"rt": steps["waiting_rt"], "be": steps["waiting_be"]}),
        pd.DataFrame({"rt": kv * of_rt, "be": kv * (1 - of_rt)}),
    ]


def _blocks_in_use(steps: pd.DataFrame, blocks: float, slots: float) -> "pd.Series[float]":
    """Mean over a stretch, which is logged as it begins: its tokens go on to fill blocks."""
    first = blocks - steps["free_blocks"]
    grown = (steps["repeat"] - 1) * steps["decode_jobs"] * (blocks / slots)
    tokens = steps["kv_tokens"] * (blocks / slots)
    last = np.minimum(np.minimum(tokens, first) + grown, blocks)
    mean: pd.Series[float] = (first + np.maximum(first, last)) / 2
    return mean


def _stack(panel: Panel, steps: pd.DataFrame, state: pd.DataFrame, edges: Floats) -> None:
    low = np.zeros(BINS)
    for name in map(str, state):
        high = low + binned_means(steps, state[name], edges)
        panel.stairs(
            high, edges, baseline=low, fill=True, color=CLASS_COLOURS[name], label=WORDS[name],
            linewidth=0,
        )  # fmt: skip
        low = high


def binned_means(steps: pd.DataFrame, values: "pd.Series[float]", edges: Floats) -> Floats:
    """Mean of a state over each bin, summed over the replicas; 0 while a replica is idle."""
    total = np.zeros(edges.size - 1)
    for _, rows in steps.groupby("replica", sort=True):
        knots = rows[["start_s", "end_s"]].to_numpy(float).ravel()
        area = np.zeros(knots.size)
        area[1::2] = values.loc[rows.index].to_numpy(float) * (knots[1::2] - knots[::2])
        reached = np.interp(edges, knots, np.cumsum(area), left=0.0)
        total += np.diff(reached) / np.diff(edges)
    return total
