"""RT attainment against BE retention, a panel for each place; the front stands out."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.paired import mean, values, where
from benchmarks.rivals.evidence import ATTAINMENT, RETENTION, Comparison
from benchmarks.rivals.places import Place
from bros_sim.plots.style import NOTE, PAGE_IN, new_figure

FRONT, BEATEN = "#0072B2", "#b0b0b0"
NEAR = 6.0
"""Points of per cent, in both directions, within which one label serves."""


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
    note = f"{seeds} seeds; whiskers: 95 % t interval; blue: unbeaten, its neighbours unnamed"
    figure.supxlabel(note, x=0.995, ha="right", **NOTE)
    return figure


def _panel(axes: Axes, table: pd.DataFrame, systems: list[str]) -> None:
    beaten = Comparison(table).beaten_by()
    axes.set_xlim(-4, 108)
    dots = []
    for number, system in enumerate(systems, 1):
        rt, be = (mean(100 * values(table, m, system=system)) for m in (ATTAINMENT, RETENTION))
        front = not beaten[system]
        axes.errorbar(
            rt.mean, be.mean, xerr=rt.half, yerr=be.half, color=FRONT if front else BEATEN,
            linewidth=0.6, marker="o", markersize=4.5 if front else 3, zorder=3 + front,
        )  # fmt: skip
        dots.append(Dot(rt.mean, be.mean, number, front))
    for group in _groups(dots):
        _name(axes, group)
    axes.set_ylim(bottom=0)


class Dot(NamedTuple):
    """A system's place in a panel."""

    rt: float
    be: float
    number: int
    front: bool


def _groups(dots: Sequence[Dot]) -> list[list[Dot]]:
    """Dots that one label serves: those near the first of a group, the front first of all."""
    groups: list[list[Dot]] = []
    for dot in sorted(dots, key=lambda dot: not dot.front):
        near = (g for g in groups if abs(g[0].rt - dot.rt) < NEAR and abs(g[0].be - dot.be) < NEAR)
        group = next(near, None)
        if group is None:
            groups.append([dot])
        else:
            group.append(dot)
    return groups


def _name(axes: Axes, group: Sequence[Dot]) -> None:
    """The numbers of a group beside it: of the front, or of all where nobody is on it."""
    front = [dot for dot in group if dot.front]
    text = _numbers(sorted(dot.number for dot in front or group))
    first, left = group[0], group[0].rt > 60
    axes.annotate(
        text, (first.rt, first.be), xytext=(-4 if left else 4, 3), textcoords="offset points",
        ha="right" if left else "left", color=FRONT if front else "#767676",
        fontsize=6 if front else 4.5, zorder=6,
    )  # fmt: skip


def _numbers(numbers: Sequence[int]) -> str:
    """``2 9-12``: runs of three and more are drawn together."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    texts = (f"{run[0]}-{run[-1]}" if len(run) > 2 else " ".join(map(str, run)) for run in runs)
    return " ".join(texts)
