"""The sweep of an experiment: the same document at every point of the grid."""

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bros_sim.config import Data, Document, PathKey
from bros_sim.errors import InputError

MAX_POINTS = 100_000
NO_AXIS = {
    **dict.fromkeys(("name", "systems", "sweep", "figures", "outputs"), ""),
    "seed": "; use sweep.seeds",
}
"""Top-level keys that a sweep cannot change, and what to do instead."""


@dataclass(frozen=True)
class Axis:
    """One swept path and the values that it takes."""

    dotted: str
    path: PathKey
    values: list[Data]

    @property
    def place(self) -> PathKey:
        """Where the list of values stands."""
        return ("sweep", "grid", self.dotted)


Variant = tuple[Mapping[str, Data], Document]


def variants(document: Document, grid: Mapping[str, list[Data]]) -> Iterator[Variant]:
    """The document at every point of the grid, the last path varying fastest, with its labels.

    Raises:
        InputError: A path names nothing or cannot be swept, a value occurs twice, or the grid is
            too large.
    """
    axes = [Axis(dotted, document.path_of(dotted), values) for dotted, values in grid.items()]
    faults = [fault for axis in axes for fault in _faults(document, axis)]
    size = 1
    for axis in axes:
        size *= len(axis.values)
    if size > MAX_POINTS:
        what = f"{size:,} points; at most {MAX_POINTS:,} are run"
        faults.append(document.fault(("sweep", "grid"), what))
    if faults:
        raise InputError(*faults)
    for choice in itertools.product(*(range(len(axis.values)) for axis in axes)):
        variant = document
        for axis, n in zip(axes, choice, strict=True):
            places = document.places_below((*axis.place, n))
            key_place = document.key_places[axis.place]
            variant = variant.put(axis.path, axis.values[n], places, key_place)
        chosen = zip(axes, choice, strict=True)
        yield {axis.dotted: axis.values[n] for axis, n in chosen}, variant


def _faults(document: Document, axis: Axis) -> Iterator[str]:
    first = str(axis.path[0])
    if first == "outputs" or (len(axis.path) == 1 and first in NO_AXIS):
        what = f"{first} cannot be swept{NO_AXIS[first]}"
        yield document.fault(axis.place, what, key=True)
    elif dead_end := document.dead_end(axis.path):
        yield document.fault(axis.place, f"names nothing: {dead_end}", key=True)
    size = len(axis.path)
    if any(path[:size] == axis.path and at == "--set" for path, at in document.places.items()):
        what = f"is swept by sweep.grid: set sweep.grid.{axis.dotted} instead"
        yield document.fault(axis.path, what)
    texts = [json.dumps(value, sort_keys=True) for value in axis.values]
    for n, text in enumerate(texts):
        if text in texts[:n]:
            yield document.fault((*axis.place, n), f"the value {text} occurs twice")
