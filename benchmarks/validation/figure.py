"""One picture of all runs: simulated against real, and the residuals below."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from benchmarks.validation.matrix import Row
from bros_sim.plots.style import (
    HAIRLINE,
    MARKERS,
    PAGE_IN,
    PALETTE,
    finish,
    new_figure,
    paper_style,
)
from bros_sim.validation.compare import METRICS

HEIGHT_IN = 4.4
SHOWN = ("mean", "median", "p90", "p99")
MOST_PCT = 25.0
"""Residuals beyond are drawn at the edge."""
DECADES = 500.0
"""Largest over smallest value of an axis up to which 2 and 5 are marked too."""
UNITS = {
    "ttft": (1e-3, "Time to first token (s)"),
    "tpot": (1.0, "Time per output token (ms)"),
    "e2e": (1e-3, "End-to-end latency (s)"),
}


def draw(rows: Sequence[Row]) -> Figure:
    """Mean, median, p90 and p99 of each run; filled: left out of the fit, hollow: as shipped."""
    drawn = [row for row in rows if row.best]
    with paper_style():
        figure = new_figure(PAGE_IN, HEIGHT_IN)
        grid = figure.subplots(2, len(METRICS), sharex="col", height_ratios=(1.7, 1))
        for column, name in enumerate(METRICS):
            _panels(grid[0, column], grid[1, column], drawn, name)
        grid[0, 0].set_ylabel("Simulated")
        grid[1, 0].set_ylabel("Error (%)")
        note = (
            "mean, median, p90 and p99 of every run; filled: the run was left out of the fit, "
            f"hollow: profile as shipped; errors beyond {MOST_PCT:g} % stand at the edge"
        )
        return finish(figure, f"{len(drawn)} runs of real servers", note)


def _panels(above: Axes, below: Axes, rows: Sequence[Row], name: str) -> None:
    scale, label = UNITS[name]
    places = list(dict.fromkeys(row.place for row in rows))
    for number, place in enumerate(places):
        for row in (row for row in rows if row.place == place):
            statistics = row.found[row.best or ""].metrics[name]
            real, simulated = (
                np.array([statistics[s][side] for s in SHOWN]) * scale
                for side in ("real", "simulated")
            )
            colour = PALETTE[number % len(PALETTE)]
            style = {
                "marker": MARKERS[number % len(MARKERS)], "linestyle": "none", "markersize": 3.5,
                "label": place, "alpha": 0.85, "markeredgecolor": colour, "markeredgewidth": 0.8,
                "markerfacecolor": colour if row.best == "left_out" else "none",
            }  # fmt: skip
            above.plot(real, simulated, **style)
            error = 100 * (simulated / real - 1)
            below.plot(real, np.clip(error, -MOST_PCT, MOST_PCT), **style)
    above.set(xscale="log", yscale="log", title=label)
    low, high = above.get_xlim()
    above.axline((low, low), (high, high), **HAIRLINE)
    above.set_xlim(low, high)
    steps = (1.0,) if high / low > DECADES else (1.0, 2.0, 5.0)
    for axis in (above.xaxis, above.yaxis):
        axis.set_major_locator(LogLocator(subs=steps))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    below.set(ylim=(-1.08 * MOST_PCT, 1.08 * MOST_PCT), xlabel="Real")
    for level, dashes in ((0, "-"), (-5, ":"), (5, ":")):
        below.axhline(level, linestyle=dashes, **HAIRLINE)
