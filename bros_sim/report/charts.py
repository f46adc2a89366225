"""The charts of the page as Vega-Lite specifications, without their data.

Parameters that page.js sets: ``shown`` (systems), ``cell`` and ``at`` (the setting), ``one`` (the
system of the timeline), and the ends of the x axis ``x0`` and ``x1``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bros_sim.plots.spec import CDF_METRICS
from bros_sim.plots.style import CLASS_COLOURS, CLASS_NAMES, PALETTE
from bros_sim.report.settings import Layout

Spec = dict[str, Any]
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "stroke", "arrow")
IN_VIEW = "indexof(shown, datum.system) >= 0 && datum.cell === cell"
HERE = f"{IN_VIEW} && datum.at === at"
GREY = "#767676"
HEIGHT = 260
FULL = (0, 103)
"""Ends of an axis of shares: room for the marks at 100 %."""


@dataclass(frozen=True)
class Chart:
    """One figure of the page.

    ``home`` are the ends of its x axis, None if it is no scale that can be zoomed; ``log`` whether
    that is logarithmic.
    """

    name: str
    title: str
    text: str
    spec: Spec
    home: tuple[float, float] | None = None
    log: bool = False

    def plain(self) -> Mapping[str, object]:
        """What page.js needs of it."""
        return {"name": self.name, "spec": self.spec, "home": self.home, "log": self.log}


def attainment(layout: Layout, service_class: str, home: tuple[float, float], log: bool) -> Chart:
    """SLO attainment against x, a line for each system."""
    x = _x(layout.x_title, log) if layout.numeric else _names(layout)
    line = {"x": x, "y": _y("y", "SLO attainment (%)", FULL), "color": _colour(layout)}
    edges = [
        {"mark": {"type": "line", "strokeDash": [3, 2], "strokeWidth": 1, "clip": True},
         "encoding": {**line, "y": _y(end, "SLO attainment (%)", FULL)}}
        for end in ("least", "most")
    ]  # fmt: skip
    band = {"opacity": {"value": 0.16}, "y2": {"field": "high"}}
    layers = [
        _ninety(), _ninety_word(),
        {"mark": {"type": "area", "clip": True},
         "encoding": {**line, **band, "y": _y("low", "SLO attainment (%)", FULL)}},
        *edges,
        {"mark": {"type": "line", "clip": True}, "encoding": line},
        {"mark": {"type": "point", "filled": True, "size": 60, "opacity": 1, "clip": True},
         "encoding": {**line, "shape": _shape(layout), "tooltip": _tips(
             system="system", x=layout.x_title or "setting", y="SLO attainment %",
             low="95 % interval from", high="to", seeds="seeds", load="load")}},
    ]  # fmt: skip
    who = CLASS_NAMES[service_class]
    return Chart(
        "attainment", f"SLO attainment of {who} requests",
        "Mean over the seeds; shaded: its 95 % t interval; dashed, where there are draws: the"
        " middle 95 % of them; grey: 90 %.",
        _spec(f"SLO attainment of {who} requests", layers, IN_VIEW, "attainment"),
        home if layout.numeric else None, log,
    )  # fmt: skip


def pareto(layout: Layout, home: tuple[float, float], top: float) -> Chart:
    """What best effort gets against what real time gets."""
    rt, be = "RT SLO attainment (%)", "BE output throughput (tokens/s)"
    x, y = _x(rt, log=False, field="rt"), _y("be", be, [0, top])
    colour, order = _colour(layout), {"order": {"field": "at"}}
    bar = {"strokeWidth": 1, "opacity": 0.5, "clip": True, "type": "rule"}
    layers = [
        {"mark": bar, "encoding": {"x": _x(rt, log=False, field="rt_low"),
                                   "x2": {"field": "rt_high"}, "y": y, "color": colour}},
        {"mark": bar, "encoding": {"x": x, "y": _y("be_low", be, [0, top]),
                                   "y2": {"field": "be_high"}, "color": colour}},
        {"mark": {"type": "line", "opacity": 0.45, "clip": True},
         "encoding": {"x": x, "y": y, "color": colour, **order}},
        {"mark": {"type": "point", "size": 80, "opacity": 1, "filled": True, "clip": True},
         "encoding": {
             "x": x, "y": y, "color": colour, "shape": _shape(layout), "stroke": colour,
             "fillOpacity": {"condition": {"test": "datum.best", "value": 1}, "value": 0},
             "tooltip": _tips(system="system", at=layout.x_title or "setting", rt=rt, be=be,
                              best="no system gives both more", load="RT load"),
         }},
    ]  # fmt: skip
    return Chart(
        "pareto", "What real time and best effort get",
        "Means over the seeds with their 95 % t intervals; a line follows one system along "
        f"{layout.x_title or 'the settings'}. Filled: no system gives both classes more at that "
        "setting.",
        _spec("RT attainment against BE throughput", layers, IN_VIEW, "pareto"), home,
    )  # fmt: skip


def latency_cdf(layout: Layout, metric: str, home: tuple[float, float], log: bool) -> Chart:
    """How many of the requests got there by then."""
    title = f"{CDF_METRICS[metric]} (s)"
    x, y = _x(title, log, "v"), _y("p", "Requests (%)", FULL)
    colour = _colour(layout)
    dash = {
        "strokeDash": {
            "field": "class", "type": "nominal", "legend": None,
            "scale": {"domain": ["rt", "be"], "range": [[1, 0], [5, 3]]},
        }
    }  # fmt: skip
    tips = _tips(system="system", **{"class": "class", "v": title, "p": "requests %"})
    one_slo = [
        {"filter": "datum.slo !== null && datum['class'] === 'rt'"},
        {"aggregate": [{"op": "count", "as": "n"}], "groupby": ["slo"]},
    ]
    layers: list[Spec] = [
        {"transform": one_slo, "mark": {"type": "rule", "color": GREY, "strokeDash": [2, 2],
                                        "strokeWidth": 1.5, "clip": True},
         "encoding": {"x": _x(title, log, "slo"),
                      "tooltip": [{"field": "slo", "title": "SLO of RT (s)"}]}},
        {"transform": [{"flatten": ["v", "p"]}],
         "layer": [
             {"mark": {"type": "line", "interpolate": "step-after", "clip": True},
              "encoding": {"x": x, "y": y, "color": colour, **dash,
                           "detail": {"field": "class"}}},
             {"mark": {"type": "point", "size": 90, "opacity": 0, "filled": True, "clip": True},
              "encoding": {"x": x, "y": y, "color": colour, "tooltip": tips}},
         ]},
    ]  # fmt: skip
    shown = f"{HERE} && datum.metric === '{metric}'"
    return Chart(
        f"cdf-{metric}", CDF_METRICS[metric],
        "", _spec(f"CDF of {CDF_METRICS[metric]}", layers, shown, "cdf"), home, log,
    )  # fmt: skip


PANELS = {
    "batch": ("Batch (requests)", None),
    "queue": ("Queue (requests)", None),
    "kv": ("KV in use (%)", [0, 100]),
}
"""Series of a timeline -> title and ends of its y axis."""


def timelines(end_s: float) -> list[Chart]:
    """Batch, queue and KV in use of one system's first seed, stacked by class."""
    return [_timeline(name, (0.0, end_s)) for name in PANELS]


def _timeline(name: str, home: tuple[float, float]) -> Chart:
    (title, ends), keys = PANELS[name], [f"{name}_rt", f"{name}_be"]
    names = [CLASS_NAMES[service_class] for service_class in ("rt", "be")]
    who = f"datum.key === '{keys[0]}' ? '{names[0]}' : '{names[1]}'"
    split = [
        {"flatten": ["t", *keys]},
        {"fold": keys, "as": ["key", "v"]},
        {"calculate": who, "as": "who"},
    ]
    y = {
        "field": "v", "type": "quantitative", "stack": "zero", "title": title,
        "scale": {"domain": ends} if ends else {}, "axis": {"tickCount": 4},
    }  # fmt: skip
    colour = {
        "field": "who", "type": "nominal", "legend": None,
        "scale": {"domain": names, "range": [CLASS_COLOURS[c] for c in ("rt", "be")]},
    }  # fmt: skip
    x, order = _x("Time (s)", log=False, field="t"), {"field": "key", "sort": "descending"}
    tips = {key: f"{title}, {word}" for key, word in zip(keys, names, strict=True)}
    layers: list[Spec] = [
        {"transform": split, "mark": {"type": "area", "interpolate": "step-after", "clip": True},
         "encoding": {"x": x, "y": y, "color": colour, "order": order}},
        {"mark": {"type": "rule", "color": GREY, "strokeDash": [1, 3], "clip": True},
         "encoding": {"x": _x("Time (s)", log=False, field="arrived")}},
        {"transform": [{"flatten": ["t", *keys]}],
         "mark": {"type": "rule", "opacity": 0, "strokeWidth": 6, "clip": True},
         "encoding": {"x": x, "tooltip": _tips(t="time s", **tips)}},
    ]  # fmt: skip
    shown = "datum.system === one && datum.cell === cell && datum.at === at"
    spec = _spec(f"{title} over time", layers, shown, "timeline") | {"height": HEIGHT // 2}
    return Chart(f"timeline-{name}", title, "", spec, home)


# -- common ---------------------------------------------------------------------------------------


def _spec(description: str, layers: Sequence[Spec], shown: str, data: str) -> Spec:
    values: dict[str, object] = {
        "shown": [], "cell": "", "at": 0, "one": "", "x0": 0, "x1": 1,
    }  # fmt: skip
    return {
        "description": description,
        "width": "container",
        "height": HEIGHT,
        "background": None,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "params": [{"name": name, "value": value} for name, value in values.items()],
        "data": {"name": data},
        "transform": [{"filter": shown}],
        "layer": list(layers),
        "config": CONFIG,
    }


CONFIG: Spec = {
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {"grid": True, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal",
             "labelOverlap": True},
    "legend": {"labelFontSize": 12},
    "line": {"strokeWidth": 2},
}  # fmt: skip
"""Colours of text and grid are those of page.css, which knows light, dark and paper."""


def _x(title: str, log: bool, field: str = "x") -> Spec:
    return {
        "field": field, "type": "quantitative", "title": title,
        "scale": {"type": "log" if log else "linear", "nice": False,
                  "domain": [{"expr": "x0"}, {"expr": "x1"}]},
        "axis": {"tickCount": 6 if log else 10},
    }  # fmt: skip


def _names(layout: Layout) -> Spec:
    return {
        "field": "x", "type": "ordinal", "title": layout.x_title, "axis": {"labelAngle": 0},
        "sort": [str(value) for value in layout.x_values],
    }  # fmt: skip


def _y(field: str, title: str, ends: Sequence[float]) -> Spec:
    return {
        "field": field, "type": "quantitative", "title": title,
        "scale": {"domain": list(ends), "nice": False},
    }  # fmt: skip


def _colour(layout: Layout) -> Spec:
    return {
        "field": "system", "type": "nominal", "legend": None,
        "scale": {"domain": layout.systems, "range": colours(layout)},
    }  # fmt: skip


def colours(layout: Layout) -> list[str]:
    """A colour for each system."""
    return [PALETTE[n % len(PALETTE)] for n in range(len(layout.systems))]


def _shape(layout: Layout) -> Spec:
    """Beyond the palette colours come again, with another shape."""
    count = len(PALETTE)
    shapes = [SHAPES[(n + n // count) % len(SHAPES)] for n in range(len(layout.systems))]
    return {
        "field": "system", "type": "nominal", "legend": None,
        "scale": {"domain": layout.systems, "range": shapes},
    }  # fmt: skip


def _tips(**titles: str) -> list[Spec]:
    return [{"field": field, "title": title} for field, title in titles.items()]


def _ninety() -> Spec:
    return {
        "data": {"values": [{}]}, "transform": [], "mark": {
            "type": "rule", "color": GREY, "strokeDash": [4, 3]
        }, "encoding": {"y": {"datum": 90}},
    }  # fmt: skip


def _ninety_word() -> Spec:
    return {
        "data": {"values": [{}]}, "mark": {
            "type": "text", "text": "90 %", "align": "left", "baseline": "top", "dy": 2,
        }, "encoding": {"y": {"datum": 90}, "x": {"value": 4}},
    }  # fmt: skip
