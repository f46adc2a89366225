"""A metric of the summary against a sweep path: mean over seeds, one line per system.

Shaded is the 95 % interval over seeds, dashed the band over draws of the latency model.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Annotated

import numpy as np
import pandas as pd
from annotated_doc import Doc
from matplotlib.axes import Axes as Panel
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from bros_sim.config.messages import nearest
from bros_sim.core.labels import counted, short_names
from bros_sim.metrics.catalogue import METRICS
from bros_sim.metrics.intervals import band, half_width, shifted
from bros_sim.metrics.measured import STATISTICS
from bros_sim.plots.spec import (
    Axes,
    ClassName,
    Faults,
    FigureSpec,
    PointView,
    Results,
    axes_of,
    select,
)
from bros_sim.plots.style import (
    CLASS_NAMES,
    LETTER_IN,
    finish,
    held,
    label_axes,
    look,
    panel_title,
    panel_width_in,
    panels,
    path_label,
    shown,
    spread,
    thousands,
)

HEIGHT_IN = 2.35
TARGET = 90.0
"""The attainment that a service is usually asked for, in per cent."""
WIDE_X = 8.0
"""Largest / smallest value from which the x axis is logarithmic."""
STEADY = "stable"
LONGEST_LABEL = 32
"""Letters that fit along the y axis."""


@dataclass(frozen=True, kw_only=True)
class Lines(FigureSpec):
    """Panels for the sweep paths left open, one line in each for every value of ``by``."""

    x: Annotated[str, Doc("sweep path on the x axis")]
    by: Annotated[str | None, Doc("one line for each value of it; system")] = None
    # The YAML key is `class`, which Python reserves: the reader of experiments maps it (alias).
    service_class: Annotated[ClassName | None, Doc("requests shown; rt")] = field(
        default=None, metadata={"alias": "class"}
    )

    def shows(self, points: Sequence[PointView], table: pd.DataFrame) -> bool:
        """Of the class asked for."""
        return super().shows(points, select(table, {"class": self.service_class or "rt"}))

    def taken(self) -> tuple[str, ...]:
        return self.x, self.by or "system"

    def words(self, names: Mapping[str, str]) -> tuple[str | None, ...]:
        return self.service_class, names[self.x], names[self.by] if self.by else None

    def faults(self, axes: Axes) -> Faults:
        """Of the axes."""
        paths = [name for name in axes if name not in {"system", "seed"}]
        if self.x not in paths:
            yield "x", f"'{self.x}' is not a sweep path{nearest(self.x, paths)}"
        if self.by is not None and self.by not in {"system", *paths}:
            yield "by", f"'{self.by}' is not a sweep path{nearest(self.by, ['system', *paths])}"
        if self.by == self.x:
            yield "by", f"'{self.by}' is the x axis already"

    def lines(self, results: Results) -> tuple[Figure, list[Panel]]:
        """The figure and its panels, whose y axes are still to be laid out."""
        x, by, y = self.x, self.by or "system", self.needs
        axes = axes_of(results.points)
        table = self._rows(results.table())
        draws = results.draws()
        if not draws.empty:
            draws = self._rows(draws)

        left = self.open_axes(axes)
        values = product(*(axes[name] for name in left))
        choices = [dict(zip(left, chosen, strict=True)) for chosen in values]
        names = short_names(axes)
        figure, drawn = panels([panel_title(choice, names) for choice in choices], HEIGHT_IN)
        for panel, choice in zip(drawn, choices, strict=True):
            _panel(panel, select(table, choice), (x, by, y), axes)
            if not draws.empty:
                _dashes(panel, select(table, choice), select(draws, choice), (x, by, y), axes)
        for panel, choice in zip(drawn, choices, strict=True):
            _open_markers(panel, select(table, choice), (x, by, y), axes)
        for panel in drawn:
            _ticks(panel, axes[x], panel_width_in(panel))
        label_axes(drawn, path_label(x), _y_label(y, self.service_class or "rt"))
        finish(figure, self.title, _note(table, draws, self.fixed(names), y))
        if "attainment" in y:
            _ninety(drawn)
        return figure, drawn

    def _rows(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows that it shows, shares in per cent."""
        y, chosen = self.needs, self.service_class or "rt"
        table = select(table[table["class"] == chosen], dict(self.where))
        scale = 100.0 if METRICS[y].unit == "share" else 1.0
        return table.assign(**{y: table[y].astype(float) * scale}).dropna(subset=[y])


def _ninety(drawn: Sequence[Panel]) -> None:
    """The line that an attainment is held against; other shares have none."""
    for panel in drawn:
        panel.axhline(TARGET, color="#555555", linewidth=0.7, linestyle=(0, (4, 3)), zorder=1)
    drawn[-1].annotate(
        "90 %", (1, TARGET), xycoords=("axes fraction", "data"), xytext=(2, 0),
        textcoords="offset points", ha="left", va="center", fontsize=6, color="#555555",
    )  # fmt: skip


def _panel(panel: Panel, table: pd.DataFrame, keys: tuple[str, str, str], axes: Axes) -> None:
    x, by, y = keys
    positions = _positions(axes[x])
    for n, value in enumerate(axes[by]):
        series = table[table[by] == value]
        grouped: dict[object, NDArray[np.float64]] = {
            v: rows[y].to_numpy(float) for v, rows in series.groupby(x, sort=False)
        }
        known = [v for v in axes[x] if v in grouped]
        at = np.array([positions[v] for v in known])
        mean = np.array([grouped[v].mean() for v in known])
        half = np.array([half_width(grouped[v]) for v in known])
        colour, marker = look(n)
        panel.plot(
            at, mean, color=colour, marker=marker, label=_name(by, value, axes),
            clip_on=False, zorder=3 + n / 100,
        )  # fmt: skip
        low, high = _band(mean, half, METRICS[y].unit == "share")
        panel.fill_between(at, low, high, color=colour, alpha=0.14, linewidth=0, zorder=2)


def _open_markers(
    panel: Panel, table: pd.DataFrame, keys: tuple[str, str, str], axes: Axes
) -> None:
    """Open where a run is no steady state that one can tell: see ``saturation``."""
    x, by, y = keys
    positions = _positions(axes[x])
    for n, value in enumerate(axes[by]):
        series = table[table[by] == value]
        unsure = series.assign(unsure=series["saturation"] != STEADY).groupby(x, sort=False)
        found = unsure.agg(mean=(y, "mean"), unsure=("unsure", "any"))
        found = found[found["unsure"]]
        colour, marker = look(n)
        panel.scatter(
            [positions[v] for v in found.index], found["mean"].astype(float), s=9, linewidth=0.8,
            marker=marker, facecolor="white", edgecolor=colour, clip_on=False, zorder=4 + n / 100,
        )  # fmt: skip


def _dashes(
    panel: Panel, table: pd.DataFrame, draws: pd.DataFrame, keys: tuple[str, str, str], axes: Axes
) -> None:
    """The edges of the band over draws, about the mean, in the colour of each line."""
    x, by, y = keys
    positions, share = _positions(axes[x]), METRICS[y].unit == "share"
    moved = shifted(table, draws, [by, x], y)
    for n, value in enumerate(axes[by]):
        mine = moved[moved[by] == value]
        ends: dict[object, tuple[float, float]] = {
            v: band(rows[y].to_numpy(float)) for v, rows in mine.groupby(x, sort=False)
        }
        known = [v for v in axes[x] if v in ends]
        at = [positions[v] for v in known]
        for edge in np.array([ends[v] for v in known]).reshape(-1, 2).T:
            panel.plot(
                at, np.clip(edge, 0.0, 100.0) if share else edge, color=look(n)[0],
                linewidth=0.8, linestyle=(0, (2, 1.5)), marker="", clip_on=False, zorder=2.5,
            )  # fmt: skip


def _band(
    mean: NDArray[np.float64], half: NDArray[np.float64], is_share: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The interval, kept to what the metric can be; above 0, so that a log axis can show it."""
    low = np.where(mean > 0, np.maximum(mean - half, 1e-3 * mean), mean - half)
    return low, np.minimum(mean + half, 100.0 if is_share else np.inf)


def _positions(values: Sequence[object]) -> dict[object, float]:
    """Where each value stands: numbers at themselves, anything else side by side."""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) == len(values):
        return {v: float(v) for v in sorted(numbers)}
    return {v: float(n) for n, v in enumerate(values)}


def _ticks(panel: Panel, values: Sequence[object], width_in: float) -> None:
    """A tick at every value that has room; a logarithmic axis for a wide range."""
    positions = _positions(values)
    numeric = not any(isinstance(v, str | bool | type(None)) for v in values)
    if numeric and spread(np.array(list(positions.values())), WIDE_X):
        panel.set_xscale("log")
    if numeric:
        names = {at: thousands(at) for at in positions.values()}
        kept = _with_room(panel, names, width_in)
    else:
        letters = max(4, int(width_in / LETTER_IN / len(values)) - 1)
        names = {at: textwrap.fill(shown(v), letters) for v, at in positions.items()}
        kept = list(names)
    panel.xaxis.set_major_locator(FixedLocator(kept))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda at, _: names.get(at, f"{at:g}")))


def _with_room(panel: Panel, names: Mapping[float, str], width_in: float) -> list[float]:
    """The ticks whose labels do not run into the one kept before them."""
    to_axes = panel.transData - panel.transAxes
    kept: list[float] = []
    free_from = -np.inf
    for at in sorted(names):
        centre = float(to_axes.transform((at, 0.0))[0]) * width_in
        half = LETTER_IN * (len(names[at]) + 1) / 2
        if centre - half >= free_from:
            kept.append(at)
            free_from = centre + half
    return kept


def _name(by: str, value: object, axes: Axes) -> str:
    return str(value) if by == "system" else f"{short_names(axes)[by]} = {shown(value)}"


def _y_label(y: str, service_class: str) -> str:
    unit = "%" if METRICS[y].unit == "share" else METRICS[y].unit
    who = CLASS_NAMES[service_class] + (f" ({unit})" if unit else "")
    one_line = f"{METRICS[y].label}, {who}"
    return one_line if len(one_line) <= LONGEST_LABEL else f"{METRICS[y].label}\n{who}"


def _note(table: pd.DataFrame, draws: pd.DataFrame, where: Mapping[str, object], y: str) -> str:
    """What the figure rests on (a point has one row of the class) and what is shaded and open."""
    note = held(table["seed"], len(table), int(table["arrived"].sum()), where)
    if table["seed"].nunique() > 1:
        note += "; band: 95 % t interval"
        statistic = y.partition("_")[0]
        note += f"; means of the seeds' {statistic}" if STATISTICS.get(statistic) else ""
    words = sorted(set(table["saturation"]) - {STEADY})
    if words:
        note += f"\nopen: a run is {' or '.join(words)}"
    if draws.empty:
        return note
    count = counted(draws["draw"].nunique(), "draw")
    return f"{note}\ndashed: middle 95 % of {count} of the latency model's uncertain coefficients"
