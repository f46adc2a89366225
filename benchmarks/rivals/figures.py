"""RT attainment against BE retention, a panel for each place; the front stands out."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.paired import mean, values, where
from benchmarks.rivals.evidence import ATTAINMENT, RETENTION, Comparison
from benchmarks.rivals.places import Place
from bros_sim.plots.style import NOTE, PAGE_IN, new_figure

FRONT, BEATEN = "#0072B2", "#b0b0b0"


def front_figure(table: pd.DataFrame, places: Sequence[Place], title: str) -> Figure:
    """Places of one load, three a row; systems are numbered. Call inside ``paper_style``."""
    systems = list(table["system"].unique())
    figure = new_figure(PAGE_IN, 5.2 + 0.13 * (len(systems) // 5))
    rows = -(-len(places) // 3)
    grid = figure.subplots(rows, 3, sharex=True, sharey=True, squeeze=False)
    for spare in grid.flat[len(places) :]:
        spare.set_axis_off()
    for axes, place in zip(grid.flat, places, strict=False):
        part = where(table, place=place.name)
        _panel(axes, part, systems)
        machine, _, workload = place.title.partition(": ")
        axes.set_title(f"{machine}, {part['rate'].iloc[0]:g} RT/s\n{workload}")
    for axes in grid[:, 0]:
        axes.set_ylabel("BE retention (%)")
    for axes in grid[-1]:
        axes.set_xlabel("RT requests within their SLOs (%)")
    names = [f"{n} {system}" for n, system in enumerate(systems, 1)]
    lines = ["     ".join(names[i : i + 5]) for i in range(0, len(names), 5)]
    figure.suptitle("\n".join([title, *lines]), fontsize=7, fontweight="normal")
    seeds = table["seed"].nunique()
    note = f"{seeds} seeds; whiskers: 95 % t interval; blue: nobody beats it"
    figure.supxlabel(note, x=0.995, ha="right", **NOTE)
    return figure


def _panel(axes: Axes, table: pd.DataFrame, systems: list[str]) -> None:
    beaten = Comparison(table).beaten_by()
    axes.set_xlim(-4, 108)
    for number, system in enumerate(systems, 1):
        rt, be = (mean(100 * values(table, m, system=system)) for m in (ATTAINMENT, RETENTION))
        front = not beaten[system]
        colour = FRONT if front else BEATEN
        axes.errorbar(
            rt.mean, be.mean, xerr=rt.half, yerr=be.half, color=colour, linewidth=0.6,
            marker="o", markersize=7 if front else 5.5, zorder=3 + front,
        )  # fmt: skip
        axes.annotate(
            str(number), (rt.mean, be.mean), ha="center", va="center_baseline", color="white",
            fontsize=5 if front else 4, zorder=5 + front,
        )  # fmt: skip
    axes.set_ylim(bottom=0)
