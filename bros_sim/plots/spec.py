"""What a figure shows: its specification, the results it needs, and what can be wrong with it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Annotated, Literal, Protocol

import pandas as pd
from annotated_doc import Doc

from bros_sim.config.messages import closest, nearest
from bros_sim.core.errors import Code, Fault
from bros_sim.core.labels import short_names
from bros_sim.metrics.catalogue import METRICS, metric_name

Label = None | bool | int | float | str
Axes = Mapping[str, Sequence[object]]
"""Label of the points (``system``, sweep paths, ``seed``) -> its values in order."""

MAX_PANELS = 12
CDF_METRICS = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "E2E latency"}
"""Metric of a latency CDF -> what its axis is called."""

KEYS = {
    "attainment": {"x", "y", "by", "class", "where", "title"},
    "line": {"x", "y", "by", "class", "where", "title"},
    "latency_cdf": {"metric", "class", "where", "title"},
    "timeline": {"where", "title"},
}
"""Plot -> the keys that it can use besides ``plot``."""


@dataclass(frozen=True)
class FigureSpec:
    """One entry of ``figures:`` in an experiment."""

    plot: Annotated[str, Doc("attainment | line | latency_cdf | timeline")]
    x: Annotated[str | None, Doc("sweep path on the x axis")] = None
    y: Annotated[str | None, Doc("metric of the summary; attainment: slo_attainment")] = None
    by: Annotated[str | None, Doc("one line for each value of it; system")] = None
    # The YAML key is `class`, which Python reserves: the reader of experiments maps it (alias).
    service_class: Annotated[
        Literal["rt", "be", "all"] | None, Doc("requests shown: lines rt, latency_cdf rt and be")
    ] = field(default=None, metadata={"alias": "class"})
    metric: Annotated[str | None, Doc("latency_cdf: ttft | tpot | e2e; ttft")] = None
    where: Annotated[Mapping[str, Label], Doc("sweep path: value of the points shown")] = field(
        default_factory=dict
    )
    title: Annotated[str | None, Doc("words above the figure")] = None

    def stem(self, axes: Axes) -> str:
        """File name that says what the figure shows; two entries may share it."""
        names = short_names(axes)
        shown = [names[path] for path in (self.x, self.by) if path]
        parts = (self.plot, self.y, self.metric, self.service_class, *shown)
        return "-".join(part for part in parts if part)


class PointView(Protocol):
    """One point of an experiment; ``error`` says why it has no tables."""

    @property
    def labels(self) -> Mapping[str, Label]:
        """``system``, each sweep path, and ``seed``."""

    @property
    def error(self) -> str:
        """Empty when the point succeeded."""

    def requests(self) -> pd.DataFrame:
        """The columns of requests.parquet."""

    def steps(self) -> pd.DataFrame:
        """The columns of steps.parquet."""


class Results(Protocol):
    """All points of an experiment."""

    @property
    def points(self) -> Sequence[PointView]:
        """In the order systems x grid x seeds."""

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
    if service_class == "all":
        return requests
    return requests[requests["class"] == service_class]


def has_values(point: PointView, service_class: str, metric: str) -> bool:
    """Whether a request of the class has this latency."""
    return bool(of_class(point.requests(), service_class)[f"{metric}_s"].notna().any())


def axes_of(points: Sequence[PointView]) -> Axes:
    """The labels of the points and their values, in order of appearance."""
    names = points[0].labels if points else ()
    return {
        name: list(dict.fromkeys(label(point.labels[name]) for point in points)) for name in names
    }


def select(table: pd.DataFrame, values: Mapping[str, object]) -> pd.DataFrame:
    """The rows of summary.csv that have all these labels."""
    for name, value in values.items():
        table = table[table[name].isna() if value is None else table[name] == value]
    return table


def fixed(spec: FigureSpec, names: Mapping[str, str]) -> dict[str, object]:
    """The values that a figure fixes, by the short names of their paths."""
    return {names[path]: value for path, value in spec.where.items() if path != "seed"}


def open_axes(spec: FigureSpec, axes: Axes, *taken: str) -> list[str]:
    """Labels with several values that the figure neither shows nor fixes (seeds are pooled)."""
    closed = {"seed", *taken, *spec.where}
    return [name for name, values in axes.items() if name not in closed and len(values) > 1]


def find_faults(spec: FigureSpec, axes: Axes) -> list[Fault]:
    """What is wrong with a figure of an experiment; the paths are from the figure's entry on.

    Needs only the labels of the points, so that it can run before any point does.
    """
    return [Fault(Code.OTHER, (key,), text) for key, text in _found(spec, axes)]


def _found(spec: FigureSpec, axes: Axes) -> list[tuple[str, str]]:
    """The YAML key and what is wrong with it."""
    if spec.plot not in KEYS:
        return [("plot", f"there is no plot '{spec.plot}'{nearest(spec.plot, KEYS)}")]
    found = [*_unused(spec), *_where(spec, axes)]
    if spec.plot in {"attainment", "line"}:
        found += [*_axis(spec, axes), *_metric(spec)]
    if spec.metric is not None and metric_name(spec.metric) not in CDF_METRICS:
        hint = nearest(spec.metric, CDF_METRICS)
        found.append(("metric", f"there is no latency '{spec.metric}'{hint}"))
    return found or [*_too_many(spec, axes)]


def _unused(spec: FigureSpec) -> Iterator[tuple[str, str]]:
    given = {"x": spec.x, "y": spec.y, "by": spec.by, "metric": spec.metric}
    given["class"] = spec.service_class
    for key, value in given.items():
        if value is not None and key not in KEYS[spec.plot]:
            yield key, f"the plot {spec.plot} does not use it"


def _where(spec: FigureSpec, axes: Axes) -> Iterator[tuple[str, str]]:
    for name, value in spec.where.items():
        if name not in axes:
            yield "where", f"'{name}' is not a sweep path{nearest(name, axes)}"
        elif value not in axes[name]:
            known = ", ".join(str(v) for v in axes[name])
            yield "where", f"no point has {name} = {value} (known: {known})"


def _axis(spec: FigureSpec, axes: Axes) -> Iterator[tuple[str, str]]:
    paths = [name for name in axes if name not in {"system", "seed"}]
    if spec.x is None:
        yield "x", f"this key is missing: a sweep path{nearest('', paths)}"
    elif spec.x not in paths:
        yield "x", f"'{spec.x}' is not a sweep path{nearest(spec.x, paths)}"
    if spec.by is not None and spec.by not in {"system", *paths}:
        yield "by", f"'{spec.by}' is not a sweep path{nearest(spec.by, ['system', *paths])}"
    if spec.by is not None and spec.by == spec.x:
        yield "by", f"'{spec.by}' is the x axis already"


def _metric(spec: FigureSpec) -> Iterator[tuple[str, str]]:
    numbers = {name: metric for name, metric in METRICS.items() if name != "saturation"}
    shares = {name: metric for name, metric in numbers.items() if metric.unit == "share"}
    known = shares if spec.plot == "attainment" else numbers
    if spec.y is None:
        if spec.plot == "line":
            yield "y", "this key is missing: a metric (`bros-sim list metrics`)"
    elif metric_name(spec.y) in known:
        return
    elif metric_name(spec.y) in numbers:
        yield "y", f"'{spec.y}' is not a share; use plot: line"
    elif spec.y in METRICS:
        yield "y", f"'{spec.y}' is not a number"
    else:
        yield "y", f"there is no metric '{spec.y}'{_near_metric(spec.y, known)}"


def _near_metric(name: str, known: Mapping[str, object]) -> str:
    return nearest(name, known) if closest(name, known) else " (see `bros-sim list metrics`)"


def _too_many(spec: FigureSpec, axes: Axes) -> Iterator[tuple[str, str]]:
    if spec.plot == "timeline":
        left, most = open_axes(spec, axes, "system"), 1
    elif spec.plot == "latency_cdf":
        left, most = open_axes(spec, axes, "system"), MAX_PANELS
    else:
        left, most = open_axes(spec, axes, str(spec.x), spec.by or "system"), MAX_PANELS
    panels = prod(len(axes[name]) for name in left)
    if panels > most:
        what = f"{panels} panels for {', '.join(left)} (at most {most}): fix values here"
        yield "where", what
