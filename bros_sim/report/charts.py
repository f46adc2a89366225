"""The charts of the page as Vega-Lite specifications, without their data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bros_sim.metrics.measures import WORDS
from bros_sim.plots.cdf import CDF_METRICS
from bros_sim.plots.style import CLASS_COLOURS, PALETTE
from bros_sim.report.data import Layout

Spec = dict[str, Any]
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "stroke", "arrow")
GREY = "#767676"
HEIGHT = 260
FULL = (0, 103)  # ends of an axis of shares: room for the marks at 100 %
PARAMETERS = {"shown": [], "cell": "", "at": 0, "one": "", "x0": 0, "x1": 1}
"""What page.js sets: systems, setting, system of the timeline, ends of the x axis."""
CONFIG: Spec = {
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {"grid": True, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal",
             "labelOverlap": True},
    "legend": {"labelFontSize": 12},
    "line": {"strokeWidth": 2},
}  # fmt: skip
"""Colours of text and grid are those of page.css, which knows light, dark and paper."""
IN_VIEW = "indexof(shown, datum.system) >= 0 && datum.cell === cell"
HERE = f"{IN_VIEW} && datum.at === at"
PANELS = {
    "batch": ("Batch (requests)", None),
    "queue": ("Queue (requests)", None),
    "kv": ("KV in use (%)", [0, 100]),
}
"""Series of a timeline -> title and ends of its y axis."""
NINETY: list[Spec] = [
    {"data": {"values": [{}]}, "transform": [], "encoding": {"y": {"datum": 90}},
     "mark": {"type": "rule", "color": GREY, "strokeDash": [4, 3]}},
    {"data": {"values": [{}]}, "encoding": {"y": {"datum": 90}, "x": {"value": 4}},
     "mark": {"type": "text", "text": "90 %", "align": "left", "baseline": "top", "dy": 2}},
]  # fmt: skip
"""The line that an attainment is held against, and its name."""


@dataclass(frozen=True)
class Chart:
    """One figure; ``home`` are the ends of its x axis, None if that is no scale to be zoomed."""

    name: str
    title: str
    text: str
    spec: Spec
    home: tuple[float, float] | None = None
    log: bool = False


def attainment(layout: Layout, service_class: str, home: tuple[float, float], log: bool) -> Chart:
    """SLO attainment against x, a line for each system."""
    names = {
        "field": "x", "type": "ordinal", "title": layout.x_title, "axis": {"labelAngle": 0},
        "sort": [str(value) for value in layout.x_values],
    }  # fmt: skip
    x = x_axis(layout.x_title, log) if layout.numeric else names
    colour = named("system", layout.systems, colours(layout))

    def line(field: str) -> Spec:
        return {"x": x, "y": y_axis(field, "SLO attainment (%)", FULL), "color": colour}

    band = {"opacity": {"value": 0.16}, "y2": {"field": "high"}}
    layers = [
        *NINETY,
        layer("area", line("low") | band),
        *(layer("line", line(e), strokeDash=[3, 2], strokeWidth=1) for e in ("least", "most")),
        layer("line", line("y")),
        points(layout, line("y"), "datum.load === 'stable'", 60,
               system="system", x=layout.x_title or "setting", y="SLO attainment %",
               low="95 % interval from", high="to", seeds="seeds", load="load"),
    ]  # fmt: skip
    title = f"SLO attainment of {WORDS[service_class]} requests"
    return Chart(
        "attainment", title,
        "Mean over the seeds; shaded: its 95 % t interval; dashed, where there are draws: the"
        " middle 95 % of them; grey: 90 %. Open: a run there is no steady state, or too short.",
        spec_of(title, layers, IN_VIEW, "attainment"), home if layout.numeric else None, log,
    )  # fmt: skip


def pareto(layout: Layout, home: tuple[float, float], top: float) -> Chart:
    """What best effort gets against what real time gets."""
    rt, be = "RT SLO attainment (%)", "BE output throughput (tokens/s)"
    x, y = x_axis(rt, log=False, field="rt"), y_axis("be", be, [0, top])
    colour = {"color": named("system", layout.systems, colours(layout))}
    bar = {"strokeWidth": 1, "opacity": 0.5}
    across = {"x": x_axis(rt, log=False, field="rt_low"), "x2": {"field": "rt_high"}, "y": y}
    upright = {"x": x, "y": y_axis("be_low", be, [0, top]), "y2": {"field": "be_high"}}
    layers = [
        layer("rule", across | colour, **bar),
        layer("rule", upright | colour, **bar),
        layer("line", {"x": x, "y": y, "order": {"field": "at"}} | colour, opacity=0.45),
        points(layout, {"x": x, "y": y}, "datum.best", 80,
               system="system", at=layout.x_title or "setting", rt=rt, be=be,
               best="no system gives both more", load="RT load"),
    ]  # fmt: skip
    return Chart(
        "pareto", "What real time and best effort get",
        "Means over the seeds with their 95 % t intervals; a line follows one system along "
        f"{layout.x_title or 'the settings'}. Filled: no system gives both classes more at that "
        "setting.",
        spec_of("RT attainment against BE throughput", layers, IN_VIEW, "pareto"), home,
    )  # fmt: skip


def latency_cdf(layout: Layout, metric: str, home: tuple[float, float], log: bool) -> Chart:
    """How many of the requests got there by then."""
    title = f"{CDF_METRICS[metric]} (s)"
    curve = {
        "x": x_axis(title, log, "v"), "y": y_axis("p", "Requests (%)", FULL),
        "color": named("system", layout.systems, colours(layout)),
    }  # fmt: skip
    dash = {"strokeDash": named("class", ["rt", "be"], [[1, 0], [5, 3]])}
    tips = tooltip_of(system="system", **{"class": "class", "v": title, "p": "requests %"})
    one_slo = [
        {"filter": "datum.slo !== null && datum['class'] === 'rt'"},
        {"aggregate": [{"op": "count", "as": "n"}], "groupby": ["slo"]},
    ]
    slo = {"x": x_axis(title, log, "slo"), "tooltip": tooltip_of(slo="SLO of RT (s)")}
    curves = [
        layer("line", {**curve, **dash, "detail": {"field": "class"}}, interpolate="step-after"),
        layer("point", {**curve, "tooltip": tips}, size=90, opacity=0, filled=True),
    ]
    limit = layer("rule", slo, color=GREY, strokeDash=[2, 2], strokeWidth=1.5)
    layers: list[Spec] = [
        {"transform": one_slo, **limit},
        {"transform": [{"flatten": ["v", "p"]}], "layer": curves},
    ]
    shown = f"{HERE} && datum.metric === '{metric}'"
    spec = spec_of(f"CDF of {CDF_METRICS[metric]}", layers, shown, "cdf")
    return Chart(f"cdf-{metric}", CDF_METRICS[metric], "", spec, home, log)


def timeline(name: str, end_s: float) -> Chart:
    """Batch, queue or KV in use of one system's first seed, stacked by class."""
    (title, ends), keys = PANELS[name], [f"{name}_rt", f"{name}_be"]
    names = [WORDS["rt"], WORDS["be"]]
    who = f"datum.key === '{keys[0]}' ? '{names[0]}' : '{names[1]}'"
    flat = [{"flatten": ["t", *keys]}]
    split = [*flat, {"fold": keys, "as": ["key", "v"]}, {"calculate": who, "as": "who"}]
    x = x_axis("Time (s)", log=False, field="t")
    stacked = {
        "x": x, "color": named("who", names, [CLASS_COLOURS["rt"], CLASS_COLOURS["be"]]),
        "y": {"field": "v", "type": "quantitative", "stack": "zero", "title": title,
              "scale": {"domain": ends} if ends else {}, "axis": {"tickCount": 4}},
        "order": {"field": "key", "sort": "descending"},
    }  # fmt: skip
    arrived = {"x": x_axis("Time (s)", log=False, field="arrived")}
    tips = {key: f"{title}, {word}" for key, word in zip(keys, names, strict=True)}
    mouse = {"x": x, "tooltip": tooltip_of(t="time s", **tips)}
    layers: list[Spec] = [
        {"transform": split, **layer("area", stacked, interpolate="step-after")},
        layer("rule", arrived, color=GREY, strokeDash=[1, 3]),
        {"transform": flat, **layer("rule", mouse, opacity=0, strokeWidth=6)},
    ]
    shown = "datum.system === one && datum.cell === cell && datum.at === at"
    spec = spec_of(f"{title} over time", layers, shown, "timeline") | {"height": HEIGHT // 2}
    return Chart(f"timeline-{name}", title, "", spec, (0.0, end_s))


def spec_of(description: str, layers: Sequence[Spec], shown: str, data: str) -> Spec:
    """A chart: its layers over the rows of ``data`` that ``shown`` lets through."""
    return {
        "description": description, "width": "container", "height": HEIGHT, "background": None,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "params": [{"name": name, "value": value} for name, value in PARAMETERS.items()],
        "data": {"name": data}, "transform": [{"filter": shown}], "layer": list(layers),
        "config": CONFIG,
    }  # fmt: skip


def layer(kind: str, encoding: Spec, **mark: object) -> Spec:
    """Marks of one kind, cut off at the frame."""
    return {"mark": {"type": kind, "clip": True, **mark}, "encoding": encoding}


def x_axis(title: str, log: bool, field: str = "x") -> Spec:
    """A scale of numbers whose ends page.js sets."""
    return {
        "field": field, "type": "quantitative", "title": title,
        "scale": {"type": "log" if log else "linear", "nice": False,
                  "domain": [{"expr": "x0"}, {"expr": "x1"}]},
        "axis": {"tickCount": 6 if log else 10},
    }  # fmt: skip


def y_axis(field: str, title: str, ends: Sequence[float]) -> Spec:
    """A scale of numbers with fixed ends."""
    scale = {"domain": list(ends), "nice": False}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale}


def named(field: str, names: Sequence[str], values: Sequence[object]) -> Spec:
    """A value for each name; the page has the legend."""
    scale = {"domain": names, "range": values}
    return {"field": field, "type": "nominal", "legend": None, "scale": scale}


def colours(layout: Layout) -> list[str]:
    """A colour for each system."""
    return [PALETTE[n % len(PALETTE)] for n in range(len(layout.systems))]


def points(layout: Layout, place: Spec, filled: str, size: int, **titles: str) -> Spec:
    """A mark for each row, ``filled`` where that test holds; the mouse shows ``titles``."""
    colour = named("system", layout.systems, colours(layout))
    count = len(PALETTE)  # beyond it colours come again, with another shape
    shapes = [SHAPES[(n + n // count) % len(SHAPES)] for n in range(len(layout.systems))]
    encoding = {
        **place, "color": colour, "stroke": colour,
        "shape": named("system", layout.systems, shapes),
        "fillOpacity": {"condition": {"test": filled, "value": 1}, "value": 0},
        "tooltip": tooltip_of(**titles),
    }  # fmt: skip
    return layer("point", encoding, filled=True, size=size, opacity=1)


def tooltip_of(**titles: str) -> list[Spec]:
    """What the mouse shows: field -> title."""
    return [{"field": field, "title": title} for field, title in titles.items()]
