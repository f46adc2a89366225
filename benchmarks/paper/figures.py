"""RT attainment and BE throughput against RT load, side by side, one line per system."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.paired import mean, values, where
from benchmarks.paper.stated import DATA, SHOWN
from bros_sim.plots.style import MARKERS, PAGE_IN, PALETTE, finish, new_figure

COLUMNS = (
    ("slo_attainment", "rt", 100.0, "RT requests within their SLOs (%)"),
    ("request_throughput_steady", "be", 1.0, "BE requests per second"),
)


def load_figure(table: pd.DataFrame, title: str) -> Figure:
    """A model's results: a row for each data set. Call inside ``paper_style``."""
    figure = new_figure(PAGE_IN, 4.4)
    grid = figure.subplots(len(DATA), len(COLUMNS), squeeze=False)
    for row, (data, name) in zip(grid, DATA.items(), strict=True):
        for panel, (metric, service_class, scale, label) in zip(row, COLUMNS, strict=True):
            part = where(table, data=data, **{"class": service_class})
            part = part.assign(y=part[metric].astype(float) * scale)
            _panel(panel, part, most=100.0 if service_class == "rt" else np.inf)
            panel.set_title(f"{name} lengths")
            panel.set_ylabel(label)
            panel.set_xlabel("RT load (requests/s)")
        row[0].set_ylim(0, 104)
        row[0].axhline(90, color="#555555", linewidth=0.7, linestyle=(0, (4, 3)), zorder=1)
        row[0].annotate(
            "90 %", (1, 90), xycoords=("axes fraction", "data"), xytext=(4, 0),
            textcoords="offset points", va="center", fontsize=6, color="#555555",
        )  # fmt: skip
        row[1].set_ylim(bottom=0)
    seeds = table["seed"].nunique()
    return finish(figure, title, f"{seeds} seeds per point; band: 95 % t interval")


def _panel(panel: Axes, table: pd.DataFrame, most: float) -> None:
    rates = sorted(table["rate"].unique())
    panel.set_xticks(rates)
    for n, system in enumerate(name for name in SHOWN if (table["system"] == name).any()):
        points = [mean(values(table, "y", system=system, rate=rate)) for rate in rates]
        colour = PALETTE[SHOWN.index(system)]
        panel.plot(
            rates, [p.mean for p in points], color=colour, marker=MARKERS[n], label=system,
            clip_on=False, zorder=4 - n / 10,
        )  # fmt: skip
        half = np.nan_to_num([p.half for p in points])
        middle = np.array([p.mean for p in points])
        low, high = np.maximum(middle - half, 0), np.minimum(middle + half, most)
        panel.fill_between(rates, low, high, color=colour, alpha=0.14, linewidth=0, zorder=2)
