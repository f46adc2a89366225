"""A metric of the summary against a sweep path: mean over seeds, one line per system.

Shaded is the 95 % interval over seeds, dashed the band over draws of the latency model.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from bros_sim.metrics.catalogue import METRICS, metric_name
from bros_sim.metrics.intervals import band, half_width, shifted
from bros_sim.metrics.measured import STATISTICS
from bros_sim.metrics.measures import WORDS, Measure, no_metric
from bros_sim.plots import spec, style
from bros_sim.plots.spec import Axes, ClassName, Faults, FigureSpec, PointView, Results
from bros_sim.plots.style import look, shown, spread, thousands

TARGET = 90.0  # the attainment that a service is usually asked for, in per cent
STEADY = "stable"
LONGEST_LABEL = 32  # letters that fit along the y axis


@dataclass(frozen=True, kw_only=True)
class Lines(FigureSpec):
    """Panels for the sweep paths left open, one line in each for every value of ``by``."""

    x: Annotated[str, Doc("sweep path on the x axis")]
    by: Annotated[str | None, Doc("one line for each value of it; system")] = None
    service_class: Annotated[ClassName | None, Doc("requests shown; rt")] = field(
        default=None, metadata=spec.CLASS_KEY
    )

    @property
    def measure(self) -> Measure:
        """What the y axis shows."""
        return Measure(self.needs, self.service_class or "rt")

    def shows(self, points: Sequence[PointView], table: pd.DataFrame) -> bool:
        return super().shows(points, spec.select(table, {"class": self.service_class or "rt"}))

    def taken(self) -> tuple[str, ...]:
        return self.x, self.by or "system"

    def words(self, names: Mapping[str, str]) -> tuple[str | None, ...]:
        return self.service_class, names[self.x], names[self.by] if self.by else None

    def faults(self, axes: Axes) -> Faults:
        paths = [name for name in axes if name not in {"system", "seed"}]
        if self.x not in paths:
            yield "x", f"'{self.x}' is not a sweep path{nearest(self.x, paths)}"
        if self.by is not None and self.by not in {"system", *paths}:
            yield "by", f"'{self.by}' is not a sweep path{nearest(self.by, ['system', *paths])}"
        if self.by == self.x:
            yield "by", f"'{self.by}' is the x axis already"

    def lines(self, results: Results) -> tuple[Figure, list[Panel]]:
        """The figure and its panels, whose y axes are still to be laid out."""
        axes, table, draws = spec.axes_of(results.points), results.table(), results.draws()
        table, draws = self._rows(table), draws if draws.empty else self._rows(draws)
        figure, chosen = self.open_panels(axes)
        for panel, choice in chosen.items():
            shown_draws = draws if draws.empty else spec.select(draws, choice)
            _Curves(self, axes, panel).draw(spec.select(table, choice), shown_draws)
        drawn = list(chosen)
        for panel in drawn:
            _ticks(panel, axes[self.x], style.panel_width_in(panel))
        style.label_axes(drawn, style.path_label(self.x), _y_label(self.measure))
        style.finish(
            figure, self.title, _note(table, draws, self.fixed(short_names(axes)), self.needs)
        )
        if "attainment" in self.needs:
            _ninety(drawn)
        return figure, drawn

    def _rows(self, table: pd.DataFrame) -> pd.DataFrame:
        y = self.needs
        table = spec.select(table[table["class"] == self.measure.service_class], dict(self.where))
        scaled = table[y].astype(float) * self.measure.scale
        return table.assign(**{y: scaled}).dropna(subset=[y])


@dataclass(frozen=True, kw_only=True)
class Attainment(Lines):
    """Attainment in per cent (``y``: any share) against ``x``."""

    y: Annotated[str | None, Doc("share of the summary; slo_attainment")] = None

    @property
    def needs(self) -> str:
        return metric_name(self.y or "slo_attainment")

    def words(self, names: Mapping[str, str]) -> tuple[str | None, ...]:
        return self.y, *super().words(names)

    def faults(self, axes: Axes) -> Faults:
        yield from super().faults(axes)
        shares = [name for name, metric in METRICS.items() if metric.unit == "share"]
        if self.needs in METRICS and self.needs not in shares:
            yield "y", f"'{self.y}' is not a share; other plots show any metric"
        elif self.needs not in METRICS:
            yield "y", no_metric(str(self.y), shares)

    def draw(self, results: Results) -> Figure:
        figure, drawn = self.lines(results)
        for panel in drawn:
            style.per_cent(panel, 104)
        return figure


@dataclass(frozen=True, kw_only=True)
class Line(Lines):
    """Any metric of the summary against ``x``."""

    y: Annotated[str, Doc("metric of the summary")]

    @property
    def needs(self) -> str:
        return metric_name(self.y)

    def words(self, names: Mapping[str, str]) -> tuple[str | None, ...]:
        return self.y, *super().words(names)

    def faults(self, axes: Axes) -> Faults:
        yield from super().faults(axes)
        if self.needs == "saturation":
            yield "y", f"'{self.y}' is not a number"
        elif self.needs not in METRICS:
            yield "y", no_metric(self.y, METRICS)

    def draw(self, results: Results) -> Figure:
        figure, drawn = self.lines(results)
        art = [line for panel in drawn for line in panel.lines]
        means = np.array([v for line in art for v in np.asarray(line.get_ydata())])
        logarithmic = spread(means[np.isfinite(means)])
        for panel in drawn:
            if logarithmic:
                panel.set_yscale("log")
                panel.set_ylim(bottom=0.5 * np.nanmin(means))
            else:
                panel.set_ylim(bottom=min(0.0, panel.get_ylim()[0]))
                panel.yaxis.set_major_formatter(FuncFormatter(thousands))
        return figure


def _ninety(drawn: Sequence[Panel]) -> None:
    """The line that an attainment is held against; other shares have none."""
    for panel in drawn:
        panel.axhline(TARGET, linestyle=(0, (4, 3)), zorder=1, **style.HAIRLINE)
    drawn[-1].annotate(
        "90 %", (1, TARGET), xycoords=("axes fraction", "data"), xytext=(2, 0),
        textcoords="offset points", ha="left", va="center", fontsize=6, color=style.DARK,
    )  # fmt: skip


class _Curves:
    """The lines of one panel, one for each value of ``by``."""

    def __init__(self, lines: Lines, axes: Axes, panel: Panel) -> None:
        self._x, self._by, self._measure = lines.x, lines.by or "system", lines.measure
        self._axes, self._panel, self._at = axes, panel, _positions(axes[lines.x])

    def draw(self, rows: pd.DataFrame, draws: pd.DataFrame) -> None:
        """``rows`` and ``draws`` (or none) are those of the panel."""
        by, values = self._by, self._axes[self._by]
        prefix = "" if by == "system" else f"{short_names(self._axes)[by]} = "
        mine = [rows[rows[by] == value] for value in values]
        for n, value in enumerate(values):
            self._means(n, prefix + shown(value), mine[n])
        if not draws.empty:
            moved = shifted(rows, draws, [by, self._x], self._measure.metric)
            for n, value in enumerate(values):
                self._dashes(n, moved[moved[by] == value])
        for n in range(len(values)):
            self._open_markers(n, mine[n])

    def _along_x(self, rows: pd.DataFrame) -> tuple[list[float], list[NDArray[np.float64]]]:
        """Where the values of x stand that have rows, and the numbers of each."""
        grouped = rows.groupby(self._x, sort=False)[self._measure.metric]
        found: dict[object, NDArray[np.float64]] = {v: y.to_numpy(float) for v, y in grouped}
        known = [value for value in self._axes[self._x] if value in found]
        return [self._at[value] for value in known], [found[value] for value in known]

    def _means(self, n: int, name: str, rows: pd.DataFrame) -> None:
        at, samples = self._along_x(rows)
        mean = np.array([sample.mean() for sample in samples])
        half = np.array([half_width(sample) for sample in samples])
        colour, marker = look(n)
        self._panel.plot(
            at, mean, color=colour, marker=marker, label=name, clip_on=False, zorder=3 + n / 100
        )
        # The interval, kept to what the metric can be; above 0, so that a log axis can show it.
        low = np.where(mean > 0, np.maximum(mean - half, 1e-3 * mean), mean - half)
        high = np.minimum(mean + half, 100.0 if self._measure.is_share else np.inf)
        self._panel.fill_between(at, low, high, color=colour, alpha=0.14, linewidth=0, zorder=2)

    def _open_markers(self, n: int, rows: pd.DataFrame) -> None:
        """Open where a run is no steady state that one can tell: see ``saturation``."""
        unsure = rows.assign(unsure=rows["saturation"] != STEADY).groupby(self._x, sort=False)
        found = unsure.agg(mean=(self._measure.metric, "mean"), unsure=("unsure", "any"))
        found = found[found["unsure"]]
        colour, marker = look(n)
        self._panel.scatter(
            [self._at[v] for v in found.index], found["mean"].astype(float), s=9, linewidth=0.8,
            marker=marker, facecolor="white", edgecolor=colour, clip_on=False, zorder=4 + n / 100,
        )  # fmt: skip

    def _dashes(self, n: int, moved: pd.DataFrame) -> None:
        """The edges of the band over draws, about the mean, in the colour of the line."""
        at, samples = self._along_x(moved)
        for edge in np.array([band(sample) for sample in samples]).reshape(-1, 2).T:
            self._panel.plot(
                at, np.clip(edge, 0.0, 100.0) if self._measure.is_share else edge,
                color=look(n)[0], linewidth=0.8, linestyle=(0, (2, 1.5)), marker="",
                clip_on=False, zorder=2.5,
            )  # fmt: skip


def _positions(values: Sequence[object]) -> dict[object, float]:
    """Where each value stands: numbers at themselves, anything else side by side."""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) == len(values):
        return {v: float(v) for v in sorted(numbers)}
    return {v: float(n) for n, v in enumerate(values)}


def _ticks(panel: Panel, values: Sequence[object], width_in: float) -> None:
    """A tick at every value that has room; a logarithmic axis for a wide range."""
    positions = _positions(values)
    if any(isinstance(v, str | bool | type(None)) for v in values):
        letters = max(4, int(width_in / style.LETTER_IN / len(values)) - 1)
        names = {at: textwrap.fill(shown(v), letters) for v, at in positions.items()}
        kept = list(names)
    else:
        if spread(np.array(list(positions.values())), style.WIDE_X):
            panel.set_xscale("log")
        names = {at: thousands(at) for at in positions.values()}
        kept = _with_room(panel, names, width_in)
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
        half = style.LETTER_IN * (len(names[at]) + 1) / 2
        if centre - half >= free_from:
            kept.append(at)
            free_from = centre + half
    return kept


def _y_label(measure: Measure) -> str:
    who = WORDS[measure.service_class] + (f" ({measure.unit})" if measure.unit else "")
    one_line = f"{measure.meaning.label}, {who}"
    return one_line if len(one_line) <= LONGEST_LABEL else f"{measure.meaning.label}\n{who}"


def _note(table: pd.DataFrame, draws: pd.DataFrame, where: Mapping[str, object], y: str) -> str:
    """What the figure rests on (a point has one row of the class) and what is shaded and open."""
    note = style.held(table["seed"], len(table), int(table["arrived"].sum()), where)
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
