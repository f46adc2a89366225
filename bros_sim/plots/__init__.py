"""Pure functions: the results of an experiment -> a figure. PLOTS is the table of kinds."""

from collections.abc import Callable

from matplotlib.figure import Figure

from bros_sim.core.errors import Code, Fault, InputError
from bros_sim.metrics.catalogue import metric_name
from bros_sim.plots.cdf import latency_cdf
from bros_sim.plots.lines import attainment, line
from bros_sim.plots.spec import (
    Axes,
    FigureSpec,
    PointView,
    Results,
    axes_of,
    find_faults,
    fixed,
    has_values,
    matches,
    select,
)
from bros_sim.plots.style import paper_style, render
from bros_sim.plots.timeline import timeline

PLOTS: dict[str, Callable[[FigureSpec, Results], Figure]] = {
    "attainment": attainment,
    "line": line,
    "latency_cdf": latency_cdf,
    "timeline": timeline,
}

__all__ = [
    "PLOTS",
    "Axes",
    "FigureSpec",
    "PointView",
    "Results",
    "axes_of",
    "draw",
    "find_faults",
    "fixed",
    "nothing_to_draw",
    "render",
]


def nothing_to_draw(spec: FigureSpec, results: Results) -> str:
    """Why a valid figure would be empty; nothing if it would not."""
    if not any(not point.error and matches(point, spec.where) for point in results.points):
        return "there is nothing to draw: no such point succeeded"
    what = {"attainment": "slo_attainment", "latency_cdf": "ttft", "timeline": "kv_slots"}
    name = metric_name(spec.y or spec.metric or what.get(spec.plot, ""))
    if not _measured(spec, name, results):
        return f"there is nothing to draw: no point has {name}"
    return ""


def _measured(spec: FigureSpec, name: str, results: Results) -> bool:
    """Whether a point shown has a value of the metric."""
    points = [p for p in results.points if not p.error and matches(p, spec.where)]
    if spec.plot == "latency_cdf":
        asked = [spec.service_class] if spec.service_class else ["rt", "be"]
        return any(has_values(point, c, name) for point in points for c in asked)
    table = select(results.table(), spec.where)
    if spec.plot != "timeline":
        table = select(table, {"class": spec.service_class or "rt"})
    return name in table and bool(table[name].notna().any())


def draw(spec: FigureSpec, results: Results) -> Figure:
    """Draw one figure; ``render`` makes a file of it.

    Raises:
        InputError: The figure does not fit the results, or there is nothing to draw.
    """
    faults = find_faults(spec, axes_of(results.points))
    if not faults and (why := nothing_to_draw(spec, results)):
        faults = [Fault(Code.OTHER, ("plot",), why)]
    if faults:
        raise InputError(*(f"figures: {spec.plot}: {fault}" for fault in faults))
    with paper_style():
        return PLOTS[spec.plot](spec, results)
