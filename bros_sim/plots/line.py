"""Figures with a metric of the summary against a sweep path."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_doc import Doc
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bros_sim.metrics.catalogue import METRICS, metric_name
from bros_sim.metrics.measures import no_metric
from bros_sim.plots.lines import Lines
from bros_sim.plots.spec import Axes, Faults, Results
from bros_sim.plots.style import per_cent, spread, thousands


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
            per_cent(panel, 104)
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
