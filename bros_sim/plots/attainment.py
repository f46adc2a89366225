"""Attainment, or any other share, against a sweep path."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from annotated_doc import Doc
from matplotlib.figure import Figure

from bros_sim.metrics.catalogue import METRICS, metric_name
from bros_sim.metrics.measures import no_metric
from bros_sim.plots.lines import Lines
from bros_sim.plots.spec import Axes, Faults, Results


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
            panel.set_ylim(0, 104)
            panel.set_yticks(range(0, 101, 20))
        return figure
