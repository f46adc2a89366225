"""What every figure has: what it is asked to show, the results it needs, what can be wrong with it.

A kind of figure is a class: its fields are its YAML keys. It is one file and one line in PLOTS.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Annotated, Any, ClassVar, Literal, Protocol

import pandas as pd
from annotated_doc import Doc
from matplotlib.axes import Axes as Panel
from matplotlib.figure import Figure

from bros_sim.config.messages import nearest
from bros_sim.core.errors import Code, Fault
from bros_sim.core.labels import short_names
from bros_sim.plots.style import HEIGHT_IN, panel_title, panels

Label = None | bool | int | float | str
Axes = Mapping[str, Sequence[object]]
"""Label of the points (``system``, sweep paths, ``seed``) -> its values in order."""
ClassName = Literal["rt", "be", "all"]
CLASS_KEY = {"alias": "class"}  # YAML key of ``service_class``: Python reserves the word
Faults = Iterator[tuple[str, str]]
"""YAML key -> what is wrong with its value, as a finished message."""


@dataclass(frozen=True, kw_only=True)
class FigureSpec(ABC):
    """One entry of ``figures:`` in an experiment."""

    where: Annotated[Mapping[str, Label], Doc("sweep path: value of the points shown")] = field(
        default_factory=dict
    )
    title: Annotated[str | None, Doc("words above the figure")] = None

    most_panels: ClassVar[int] = 12

    @abstractmethod
    def draw(self, results: "Results") -> Figure:
        """The figure; only of results that it fits and that it can show something of."""

    @property
    @abstractmethod
    def needs(self) -> str:
        """The metric without which there is nothing to draw."""

    def shows(self, points: "Sequence[PointView]", table: pd.DataFrame) -> bool:
        """Whether a value of the metric is there: ``points`` are those shown, ``table`` theirs."""
        return self.needs in table and bool(table[self.needs].notna().any())

    def faults(self, axes: Axes) -> Faults:
        """What is wrong with what it is asked to show, ``where`` left aside."""
        yield from ()

    def taken(self) -> tuple[str, ...]:
        """Labels that it shows otherwise than by panels."""
        return ("system",)

    def words(self, names: Mapping[str, str]) -> tuple[str | None, ...]:
        """What it shows, for the name of its file; ``names`` are the short ones of the labels."""
        return ()

    def open_axes(self, axes: Axes) -> list[str]:
        """Labels with several values that it neither shows nor fixes (seeds are pooled)."""
        closed = {"seed", *self.taken(), *self.where}
        return [name for name, values in axes.items() if name not in closed and len(values) > 1]

    def open_panels(self, axes: Axes) -> tuple[Figure, dict[Panel, dict[str, object]]]:
        """A panel for each combination of the labels left open, with those labels."""
        left, names = self.open_axes(axes), short_names(axes)
        values = product(*(axes[name] for name in left))
        choices = [dict(zip(left, chosen, strict=True)) for chosen in values]
        figure, drawn = panels([panel_title(choice, names) for choice in choices], HEIGHT_IN)
        return figure, dict(zip(drawn, choices, strict=True))

    def fixed(self, names: Mapping[str, str]) -> dict[str, object]:
        """The values that it fixes, by the short names of their paths."""
        return {names[path]: value for path, value in self.where.items() if path != "seed"}


class HasLabels(Protocol):
    """A point, run or not: its ``system``, sweep paths, and ``seed``."""

    @property
    def labels(self) -> Mapping[str, Any]: ...


class PointView(HasLabels, Protocol):
    """A point with its requests.parquet and steps.parquet; ``error`` says why it has none."""

    @property
    def error(self) -> str: ...
    def requests(self) -> pd.DataFrame: ...
    def steps(self) -> pd.DataFrame: ...


class Results(Protocol):
    """All points of an experiment, in the order systems x grid x seeds."""

    @property
    def points(self) -> Sequence[PointView]: ...

    def table(self) -> pd.DataFrame:
        """One row per point and class; labels, ``class``, metrics."""

    def draws(self) -> pd.DataFrame:
        """The same of the points under drawn latency models, with ``draw``; empty without any."""


def label(value: object) -> object:
    """A label as summary.csv has it: mappings and lists as JSON."""
    return json.dumps(value) if isinstance(value, dict | list) else value


def matches(point: PointView, values: Mapping[str, object]) -> bool:
    """Whether a point has all these labels."""
    return all(label(point.labels[name]) == value for name, value in values.items())


def of_class(requests: pd.DataFrame, service_class: str) -> pd.DataFrame:
    """The requests of rt, be or all."""
    return requests if service_class == "all" else requests[requests["class"] == service_class]


def axes_of(points: Sequence[HasLabels]) -> Axes:
    """The labels of the points and their values, in order of appearance."""
    names = points[0].labels if points else ()
    return {n: list(dict.fromkeys(label(point.labels[n]) for point in points)) for n in names}


def select(table: pd.DataFrame, values: Mapping[str, object]) -> pd.DataFrame:
    """The rows of summary.csv that have all these labels."""
    for name, value in values.items():
        table = table[table[name].isna() if value is None else table[name] == value]
    return table


def find_faults(spec: FigureSpec, axes: Axes) -> list[Fault]:
    """What is wrong with a figure, before any point has run; paths are from its entry on."""
    found = [*_where(spec, axes), *spec.faults(axes)] or _too_many(spec, axes)
    return [Fault(Code.OTHER, (key,), text) for key, text in found]


def _where(spec: FigureSpec, axes: Axes) -> Faults:
    for name, value in spec.where.items():
        if name not in axes:
            yield "where", f"'{name}' is not a sweep path{nearest(name, axes)}"
        elif value not in axes[name]:
            known = ", ".join(str(v) for v in axes[name])
            yield "where", f"no point has {name} = {value} (known: {known})"


def _too_many(spec: FigureSpec, axes: Axes) -> Faults:
    left = spec.open_axes(axes)
    count = prod(len(axes[name]) for name in left)
    if count > spec.most_panels:
        what = f"{count} panels for {', '.join(left)} (at most {spec.most_panels})"
        yield "where", f"{what}: fix values here"


def shown_points(spec: FigureSpec, results: Results) -> list[PointView]:
    """Those that did not fail and that ``where`` lets through."""
    return [p for p in results.points if not p.error and matches(p, spec.where)]


def nothing_to_draw(spec: FigureSpec, results: Results) -> str:
    """Why a valid figure would be empty; nothing if it would not."""
    points = shown_points(spec, results)
    if not points:
        return "there is nothing to draw: no such point succeeded"
    if not spec.shows(points, select(results.table(), spec.where)):
        return f"there is nothing to draw: no point has {spec.needs}"
    return ""
