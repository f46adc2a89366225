"""The sweep of an experiment: the same document at every point of the grid."""

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bros_sim.config import Data, Document, PathKey
from bros_sim.core.errors import Fault, InputError
from bros_sim.experiment.sweep import Sweep

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
    """The document at every point of the sweep, with its labels.

    The last path of ``grid`` varies faster than the others, and the paths of ``zip``, which go on
    together, fastest of all.
    """
    grid, zipped = (
        [Axis(dotted, document.path_of(dotted), values, part) for dotted, values in paths.items()]
        for part, paths in (("grid", sweep.grid), ("zip", sweep.zip))
    )
    dimensions = [*([axis] for axis in grid), *([zipped] if zipped else [])]
    faults = [fault for axis in (*grid, *zipped) for fault in _faults(document, axis)]
    faults += [*_repeated(document, grid), *_uneven(document, zipped)]
    faults += _clashes(document, grid, zipped)
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
    """The variant with value ``n`` of the axis, which stands where the document says so."""
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


def _repeated(document: Document, axes: Iterable[Axis]) -> Iterator[Fault]:
    """A value of ``grid`` that occurs twice would be the same point twice."""
    for axis in axes:
        texts = [json.dumps(value, sort_keys=True) for value in axis.values]
        for n, text in enumerate(texts):
            if text in texts[:n]:
                yield document.fault((*axis.place, n), f"the value {text} occurs twice")


def _uneven(document: Document, axes: Sequence[Axis]) -> Iterator[Fault]:
    """Paths that go on together have as many values each, and no point twice."""
    for axis in axes[1:]:
        if len(axis.values) != len(axes[0].values):
            first = f"{axes[0].dotted} has {len(axes[0].values)}"
            what = f"has {len(axis.values)} values, but {first}: zip takes one of each at a time"
            yield document.fault(axis.place, what)
            return
    rows = [json.dumps(row, sort_keys=True) for row in zip(*(a.values for a in axes), strict=True)]
    for n, row in enumerate(rows):
        if row in rows[:n]:
            yield document.fault((*axes[0].place, n), f"the values {row} occur twice")


def _clashes(document: Document, grid: Sequence[Axis], zipped: Sequence[Axis]) -> Iterator[Fault]:
    """A path that both change, or that lies within one that the other changes."""
    for axis in zipped:
        for other in grid:
            size = min(len(axis.path), len(other.path))
            if axis.path[:size] == other.path[:size]:
                what = f"is swept by sweep.grid.{other.dotted} as well"
                yield document.fault(axis.place, what, key=True)
