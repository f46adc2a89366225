"""What ``sweep`` says, and the same document at every point of its grid."""

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from annotated_types import Len
from pydantic import BeforeValidator, WithJsonSchema, field_validator, model_validator

from bros_sim.config import Data, Document, PathKey
from bros_sim.config.components import Strict, alone, key
from bros_sim.config.messages import combined, invalid, shown
from bros_sim.core.errors import Code, Fault, InputError
from bros_sim.metrics.measures import Measure, Width

MAX_VALUES = 10_000
"""Most values of a range: far above honest use."""
FORMS = ("range", "choices")
LEAST_SEEDS = 5
"""With fewer an interval is too uncertain to stop at it."""


def _written_out(value: object) -> object:
    """The list that ``{range: ...}`` or ``{choices: ...}`` stands for; all else as it is."""
    if not isinstance(value, dict):
        return value
    if len(value) != 1 or next(iter(value)) not in FORMS:
        what = "should be a list, {range: [first, last, step]} or {choices: [...]}"
        raise invalid((), f"{what} (got {shown(value)})", Code.VALUE)
    if "choices" in value:
        return value["choices"]
    return _numbers(value["range"])


def _numbers(ends: object) -> list[int | float]:
    """From the first on in steps up to the last: decimal, as written, with nothing added up."""
    if not isinstance(ends, list) or len(ends) != 3 or not all(map(_is_number, ends)):
        what = f"should be [first, last, step] (got {shown(ends)})"
        raise invalid(("range",), what, Code.VALUE)
    first, last, step = (Decimal(repr(number)) for number in ends)
    if not (first <= last and step > 0):
        raise invalid(("range",), f"should go up, by a step over 0 (got {shown(ends)})")
    steps = int((last - first) / step)
    if steps >= MAX_VALUES:
        raise invalid(("range",), f"has more than {MAX_VALUES:,} values")
    exact = [first + n * step for n in range(steps + 1)]
    return [int(x) if x == x.to_integral_value() else float(x) for x in exact]


def _is_number(value: object) -> bool:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and Decimal(repr(value)).is_finite()


_LIST: dict[str, Any] = {"type": "array", "minItems": 1}
_RANGE = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}
_ENDS = "[first, last, step], the last one included"
_WRITTEN = [
    _LIST,
    alone("range", {**_RANGE, "description": _ENDS}),
    alone("choices", {**_LIST, "description": "the same as a list"}),
]
Values = Annotated[
    list[Any], Len(1), BeforeValidator(_written_out), WithJsonSchema({"anyOf": _WRITTEN})
]
"""What a path takes one after the other, at least one."""


class Until(Strict):
    """More seeds at every point of the grid until its intervals are narrow enough."""

    half_width: dict[str, float | str] = key(
        "METRIC[CLASS] -> half of the 95 % interval over seeds that will do, in the metric's unit"
        " (a share from 0 to 1) or as `5 %` of the mean, under every system",
        min_length=1,
    )
    max_seeds: int = key("no more than so many", 100, ge=LEAST_SEEDS, le=10_000)

    @field_validator("half_width")
    @classmethod
    def _readable(cls, written: dict[str, float | str]) -> dict[str, float | str]:
        faults: list[Fault] = []
        for name, width in written.items():
            try:
                Width.parse(Measure.parse(name), width)
            except InputError as error:
                faults += [Fault(Code.OTHER, (name,), line) for line in error.lines]
        if faults:
            raise combined(faults)
        return written

    @property
    def widths(self) -> list[Width]:
        """What is asked."""
        return [Width.parse(Measure.parse(n), width) for n, width in self.half_width.items()]


class Sweep(Strict):
    """Points = systems x grid x zip x seeds."""

    grid: dict[str, Values] = key("path of a value -> its values; each with each other's", dict)
    zip: dict[str, Values] = key(
        "path of a value -> its values; all paths here go on together", dict
    )
    seeds: int = key("seeds seed, seed + 1, ...", 1, ge=1, le=10_000)
    until: Until | None = key("add seeds until intervals are narrow enough", None)

    @model_validator(mode="after")
    def _has_an_interval(self) -> "Sweep":
        if self.until and not LEAST_SEEDS <= self.seeds <= self.until.max_seeds:
            raise invalid(("seeds",), f"seeds has to be from {LEAST_SEEDS} to until.max_seeds")
        return self

    @property
    def paths(self) -> list[str]:
        """Every swept path."""
        return [*self.grid, *self.zip]


MAX_POINTS = 100_000
NO_AXIS = {
    **dict.fromkeys(("name", "systems", "sweep", "figures", "outputs"), ""),
    "seed": "; use sweep.seeds",
}
"""Top-level keys that a sweep cannot change, and what to do instead."""


@dataclass(frozen=True)
class Axis:
    """One swept path, the values that it takes, and whether they are in ``grid`` or ``zip``."""

    dotted: str
    path: PathKey
    values: list[Data]
    part: str

    @property
    def place(self) -> PathKey:
        """Where its values stand."""
        return ("sweep", self.part, self.dotted)


Variant = tuple[Mapping[str, Data], Document]


def variants(document: Document, sweep: Sweep) -> Iterator[Variant]:
    """The document at every point, with its labels: ``grid`` as nested loops, ``zip`` innermost."""
    grid, zipped = (
        [Axis(dotted, document.path_of(dotted), values, part) for dotted, values in paths.items()]
        for part, paths in (("grid", sweep.grid), ("zip", sweep.zip))
    )
    dimensions = [*([axis] for axis in grid), *([zipped] if zipped else [])]
    faults = [fault for axis in (*grid, *zipped) for fault in _faults(document, axis)]
    for axis in grid:
        faults += _repeated(document, axis, axis.values, "the value {} occurs twice")
    faults += [*_uneven(document, zipped), *_clashes(document, grid, zipped)]
    size = math.prod(len(axes[0].values) for axes in dimensions)
    if size > MAX_POINTS:
        what = f"{size:,} points; at most {MAX_POINTS:,} are run"
        faults.append(document.fault(("sweep",), what))
    if faults:
        raise InputError(*faults)
    for choice in itertools.product(*(range(len(axes[0].values)) for axes in dimensions)):
        chosen = [(axis, n) for axes, n in zip(dimensions, choice, strict=True) for axis in axes]
        variant = document
        for axis, n in chosen:
            variant = _put(variant, document, axis, n)
        yield {axis.dotted: axis.values[n] for axis, n in chosen}, variant


def _put(variant: Document, document: Document, axis: Axis, n: int) -> Document:
    listed = isinstance(document.get(axis.place), list)
    at = (*axis.place, n) if listed else (*axis.place, "choices", n)
    places = document.places_below(at) or {(): document.places[axis.place]}
    return variant.put(axis.path, axis.values[n], places, document.key_places[axis.place])


def _faults(document: Document, axis: Axis) -> Iterator[Fault]:
    first = str(axis.path[0])
    if first == "outputs" or (len(axis.path) == 1 and first in NO_AXIS):
        what = f"{first} cannot be swept{NO_AXIS[first]}"
        yield document.fault(axis.place, what, key=True)
    elif dead_end := document.dead_end(axis.path):
        yield document.fault(axis.place, f"names nothing: {dead_end}", key=True)
    size = len(axis.path)
    if any(path[:size] == axis.path and at == "--set" for path, at in document.places.items()):
        what = f"is swept by sweep.{axis.part}: set sweep.{axis.part}.{axis.dotted} instead"
        yield document.fault(axis.path, what)


def _repeated(document: Document, axis: Axis, rows: Iterable[object], what: str) -> Iterator[Fault]:
    """A value that occurs twice would be the same point twice."""
    texts = [json.dumps(row, sort_keys=True) for row in rows]
    for n, text in enumerate(texts):
        if text in texts[:n]:
            yield document.fault((*axis.place, n), what.format(text))


def _uneven(document: Document, axes: Sequence[Axis]) -> Iterator[Fault]:
    for axis in axes[1:]:
        if len(axis.values) != len(axes[0].values):
            first = f"{axes[0].dotted} has {len(axes[0].values)}"
            what = f"has {len(axis.values)} values, but {first}: zip takes one of each at a time"
            yield document.fault(axis.place, what)
            return
    rows = zip(*(axis.values for axis in axes), strict=True)
    for axis in axes[:1]:
        yield from _repeated(document, axis, rows, "the values {} occur twice")


def _clashes(document: Document, grid: Sequence[Axis], zipped: Sequence[Axis]) -> Iterator[Fault]:
    for axis in zipped:
        for other in grid:
            size = min(len(axis.path), len(other.path))
            if axis.path[:size] == other.path[:size]:
                what = f"is swept by sweep.grid.{other.dotted} as well"
                yield document.fault(axis.place, what, key=True)
