"""Pure functions: the results of an experiment -> a figure. PLOTS is the table of kinds."""

from matplotlib.figure import Figure

from bros_sim.config import Document, PathKey, decode
from bros_sim.config.messages import MISSING, nearest
from bros_sim.core.errors import InputError
from bros_sim.core.labels import short_names
from bros_sim.plots.cdf import LatencyCdf
from bros_sim.plots.lines import Attainment, Line
from bros_sim.plots.spec import Axes, FigureSpec, Results, axes_of, find_faults, nothing_to_draw
from bros_sim.plots.style import paper_style, render
from bros_sim.plots.timeline import Timeline

PLOTS: dict[str, type[FigureSpec]] = {
    "attainment": Attainment,
    "line": Line,
    "latency_cdf": LatencyCdf,
    "timeline": Timeline,
}

__all__ = ["PLOTS", "FigureSpec", "draw", "read", "render", "stem"]


def read(document: Document, at: PathKey) -> FigureSpec:
    """One entry of ``figures:`` of an experiment; an `InputError` with every fault."""
    kind = document.get((*at, "plot"))
    if not isinstance(kind, str) or kind not in PLOTS:
        what = f"there is no plot '{kind}'{nearest(str(kind), PLOTS)}"
        raise InputError(document.fault((*at, "plot"), MISSING if kind is None else what))
    return decode(PLOTS[kind], document.without((*at, "plot")), at)


def _kind_of(spec: FigureSpec) -> str:
    return next(kind for kind, known in PLOTS.items() if type(spec) is known)


def stem(spec: FigureSpec, axes: Axes) -> str:
    """File name that says what a figure shows; two may share it."""
    return "-".join(word for word in (_kind_of(spec), *spec.words(short_names(axes))) if word)


def draw(spec: FigureSpec, results: Results) -> Figure:
    """Draw one figure; an `InputError` if it does not fit, or there is nothing to draw."""
    faults = [*map(str, find_faults(spec, axes_of(results.points)))]
    if not faults and (why := nothing_to_draw(spec, results)):
        faults = [f"plot: {why}"]
    if faults:
        raise InputError(*(f"figures: {_kind_of(spec)}: {fault}" for fault in faults))
    with paper_style():
        return spec.draw(results)
