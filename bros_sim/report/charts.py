"""The charts of the page as Vega-Lite specifications, without their data.

Parameters that page.js sets: ``shown`` (systems), ``cell`` and ``at`` (the setting), ``one`` (the
system of the timeline), and the ends of the x axis ``x0`` and ``x1``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from bros_sim.metrics.measures import WORDS
from bros_sim.plots.cdf import CDF_METRICS
from bros_sim.plots.style import CLASS_COLOURS
from bros_sim.report.grammar import (
    FULL,
    GREY,
    HEIGHT,
    Spec,
    colour_of,
    filled_where,
    ninety,
    ninety_word,
    shape_of,
    spec_of,
    tooltip_of,
    x_axis,
    x_names,
    y_axis,
)
from bros_sim.report.settings import Layout

IN_VIEW = "indexof(shown, datum.system) >= 0 && datum.cell === cell"
HERE = f"{IN_VIEW} && datum.at === at"


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
        return {"name": self.name, "spec": self.spec, "home": self.home, "log": self.log}


def attainment(layout: Layout, service_class: str, home: tuple[float, float], log: bool) -> Chart:
    """SLO attainment against x, a line for each system."""
    x = x_axis(layout.x_title, log) if layout.numeric else x_names(layout)
    line = {"x": x, "y": y_axis("y", "SLO attainment (%)", FULL), "color": colour_of(layout)}
    edges = [
        {"mark": {"type": "line", "strokeDash": [3, 2], "strokeWidth": 1, "clip": True},
         "encoding": {**line, "y": y_axis(end, "SLO attainment (%)", FULL)}}
        for end in ("least", "most")
    ]  # fmt: skip
    band = {"opacity": {"value": 0.16}, "y2": {"field": "high"}}
    layers = [
        ninety(), ninety_word(),
        {"mark": {"type": "area", "clip": True},
         "encoding": {**line, **band, "y": y_axis("low", "SLO attainment (%)", FULL)}},
        *edges,
        {"mark": {"type": "line", "clip": True}, "encoding": line},
        {"mark": {"type": "point", "filled": True, "size": 60, "opacity": 1, "clip": True},
         "encoding": {**line, "shape": shape_of(layout), "stroke": line["color"],
                      "fillOpacity": filled_where("datum.load === 'stable'"), "tooltip": tooltip_of(
             system="system", x=layout.x_title or "setting", y="SLO attainment %",
             low="95 % interval from", high="to", seeds="seeds", load="load")}},
    ]  # fmt: skip
    who = WORDS[service_class]
    return Chart(
        "attainment", f"SLO attainment of {who} requests",
        "Mean over the seeds; shaded: its 95 % t interval; dashed, where there are draws: the"
        " middle 95 % of them; grey: 90 %. Open: a run there is no steady state, or too short.",
        spec_of(f"SLO attainment of {who} requests", layers, IN_VIEW, "attainment"),
        home if layout.numeric else None, log,
    )  # fmt: skip


def pareto(layout: Layout, home: tuple[float, float], top: float) -> Chart:
    """What best effort gets against what real time gets."""
    rt, be = "RT SLO attainment (%)", "BE output throughput (tokens/s)"
    x, y = x_axis(rt, log=False, field="rt"), y_axis("be", be, [0, top])
    colour, order = colour_of(layout), {"order": {"field": "at"}}
    bar = {"strokeWidth": 1, "opacity": 0.5, "clip": True, "type": "rule"}
    layers = [
        {"mark": bar, "encoding": {"x": x_axis(rt, log=False, field="rt_low"),
                                   "x2": {"field": "rt_high"}, "y": y, "color": colour}},
        {"mark": bar, "encoding": {"x": x, "y": y_axis("be_low", be, [0, top]),
                                   "y2": {"field": "be_high"}, "color": colour}},
        {"mark": {"type": "line", "opacity": 0.45, "clip": True},
         "encoding": {"x": x, "y": y, "color": colour, **order}},
        {"mark": {"type": "point", "size": 80, "opacity": 1, "filled": True, "clip": True},
         "encoding": {
             "x": x, "y": y, "color": colour, "shape": shape_of(layout), "stroke": colour,
             "fillOpacity": filled_where("datum.best"),
             "tooltip": tooltip_of(system="system", at=layout.x_title or "setting", rt=rt, be=be,
                              best="no system gives both more", load="RT load"),
         }},
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
    x, y = x_axis(title, log, "v"), y_axis("p", "Requests (%)", FULL)
    colour = colour_of(layout)
    dash = {
        "strokeDash": {
            "field": "class", "type": "nominal", "legend": None,
            "scale": {"domain": ["rt", "be"], "range": [[1, 0], [5, 3]]},
        }
    }  # fmt: skip
    tips = tooltip_of(system="system", **{"class": "class", "v": title, "p": "requests %"})
    one_slo = [
        {"filter": "datum.slo !== null && datum['class'] === 'rt'"},
        {"aggregate": [{"op": "count", "as": "n"}], "groupby": ["slo"]},
    ]
    layers: list[Spec] = [
        {"transform": one_slo, "mark": {"type": "rule", "color": GREY, "strokeDash": [2, 2],
                                        "strokeWidth": 1.5, "clip": True},
         "encoding": {"x": x_axis(title, log, "slo"),
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
        "", spec_of(f"CDF of {CDF_METRICS[metric]}", layers, shown, "cdf"), home, log,
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
    names = [WORDS[service_class] for service_class in ("rt", "be")]
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
    x, order = x_axis("Time (s)", log=False, field="t"), {"field": "key", "sort": "descending"}
    tips = {key: f"{title}, {word}" for key, word in zip(keys, names, strict=True)}
    layers: list[Spec] = [
        {"transform": split, "mark": {"type": "area", "interpolate": "step-after", "clip": True},
         "encoding": {"x": x, "y": y, "color": colour, "order": order}},
        {"mark": {"type": "rule", "color": GREY, "strokeDash": [1, 3], "clip": True},
         "encoding": {"x": x_axis("Time (s)", log=False, field="arrived")}},
        {"transform": [{"flatten": ["t", *keys]}],
         "mark": {"type": "rule", "opacity": 0, "strokeWidth": 6, "clip": True},
         "encoding": {"x": x, "tooltip": tooltip_of(t="time s", **tips)}},
    ]  # fmt: skip
    shown = "datum.system === one && datum.cell === cell && datum.at === at"
    spec = spec_of(f"{title} over time", layers, shown, "timeline") | {"height": HEIGHT // 2}
    return Chart(f"timeline-{name}", title, "", spec, home)
