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
PARAMETERS = {"shown": [], "cell": "", "at": 0, "one": "", "x0": 0, "x1": 1}
CONFIG: Spec = {
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {"grid": True, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal",
             "labelOverlap": True},
    "legend": {"labelFontSize": 12},
    "line": {"strokeWidth": 2},
}  # fmt: skip
"""Colours of text and grid are those of page.css, which knows light, dark and paper."""


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


def x_names(layout: Layout) -> Spec:
    """An axis of names, in the order of the sweep."""
    return {
        "field": "x", "type": "ordinal", "title": layout.x_title, "axis": {"labelAngle": 0},
        "sort": [str(value) for value in layout.x_values],
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


def shapes(layout: Layout) -> list[str]:
    """Beyond the palette colours come again, with another shape."""
    count = len(PALETTE)
    return [SHAPES[(n + n // count) % len(SHAPES)] for n in range(len(layout.systems))]


def points(layout: Layout, place: Spec, filled: str, size: int, **titles: str) -> Spec:
    """A mark for each row, ``filled`` where that test holds; the mouse shows ``titles``."""
    colour = named("system", layout.systems, colours(layout))
    encoding = {
        **place, "color": colour, "stroke": colour,
        "shape": named("system", layout.systems, shapes(layout)),
        "fillOpacity": {"condition": {"test": filled, "value": 1}, "value": 0},
        "tooltip": tooltip_of(**titles),
    }  # fmt: skip
    return layer("point", encoding, filled=True, size=size, opacity=1)


def tooltip_of(**titles: str) -> list[Spec]:
    """What the mouse shows: field -> title."""
    return [{"field": field, "title": title} for field, title in titles.items()]
