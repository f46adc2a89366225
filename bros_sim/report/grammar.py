"""What the charts have in common, as parts of Vega-Lite specifications."""

from collections.abc import Sequence
from typing import Any

from bros_sim.plots.style import PALETTE
from bros_sim.report.settings import Layout

Spec = dict[str, Any]
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "stroke", "arrow")
GREY = "#767676"
HEIGHT = 260
FULL = (0, 103)
"""Ends of an axis of shares: room for the marks at 100 %."""


def spec_of(description: str, layers: Sequence[Spec], shown: str, data: str) -> Spec:
    """A chart: its layers over the rows of ``data`` that ``shown`` lets through."""
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


def x_axis(title: str, log: bool, field: str = "x") -> Spec:
    """A scale of numbers whose ends page.js sets."""
    return {
        "field": field, "type": "quantitative", "title": title,
        "scale": {"type": "log" if log else "linear", "nice": False,
                  "domain": [{"expr": "x0"}, {"expr": "x1"}]},
        "axis": {"tickCount": 6 if log else 10},
    }  # fmt: skip


def x_names(layout: Layout) -> Spec:
    """An axis of names, in the order of the sweep."""
    return {
        "field": "x", "type": "ordinal", "title": layout.x_title, "axis": {"labelAngle": 0},
        "sort": [str(value) for value in layout.x_values],
    }  # fmt: skip


def y_axis(field: str, title: str, ends: Sequence[float]) -> Spec:
    """A scale of numbers with fixed ends."""
    return {
        "field": field, "type": "quantitative", "title": title,
        "scale": {"domain": list(ends), "nice": False},
    }  # fmt: skip


def colour_of(layout: Layout) -> Spec:
    """The colour of a system."""
    return {
        "field": "system", "type": "nominal", "legend": None,
        "scale": {"domain": layout.systems, "range": colours(layout)},
    }  # fmt: skip


def colours(layout: Layout) -> list[str]:
    """A colour for each system."""
    return [PALETTE[n % len(PALETTE)] for n in range(len(layout.systems))]


def shape_of(layout: Layout) -> Spec:
    """Beyond the palette colours come again, with another shape."""
    count = len(PALETTE)
    shapes = [SHAPES[(n + n // count) % len(SHAPES)] for n in range(len(layout.systems))]
    return {
        "field": "system", "type": "nominal", "legend": None,
        "scale": {"domain": layout.systems, "range": shapes},
    }  # fmt: skip


def filled_where(test: str) -> Spec:
    """Marks are filled where the test on their row holds, else open."""
    return {"condition": {"test": test, "value": 1}, "value": 0}


def tooltip_of(**titles: str) -> list[Spec]:
    """What the mouse shows: field -> title."""
    return [{"field": field, "title": title} for field, title in titles.items()]


def ninety() -> Spec:
    """The line that an attainment is held against."""
    return {
        "data": {"values": [{}]}, "transform": [], "mark": {
            "type": "rule", "color": GREY, "strokeDash": [4, 3]
        }, "encoding": {"y": {"datum": 90}},
    }  # fmt: skip


def ninety_word() -> Spec:
    """Its name."""
    return {
        "data": {"values": [{}]}, "mark": {
            "type": "text", "text": "90 %", "align": "left", "baseline": "top", "dy": 2,
        }, "encoding": {"y": {"datum": 90}, "x": {"value": 4}},
    }  # fmt: skip
