"""An experiment with other values at some of its paths."""

import json
from collections.abc import Iterable, Mapping, Sequence

from bros_sim.config import Data, Document, PathKey
from bros_sim.config.documents import value_at
from bros_sim.core.errors import Code, Fault, InputError
from bros_sim.experiment import Loaded, load
from bros_sim.experiment.sweep import NO_AXIS
from bros_sim.metrics.measures import Measure


class Variation:
    """The experiment of a document with one seed and no axis along the paths of ``--vary``."""

    def __init__(
        self, document: Document, paths: Sequence[str], measures: Iterable[Measure]
    ) -> None:
        self.paths = {dotted: _path(document, dotted) for dotted in paths}
        seeds = document.get(("sweep", "seeds"))
        self.seeds = seeds if isinstance(seeds, int) else 1
        self._until = document.get(("sweep", "until")) is not None
        self._document = _prepared(document, paths, measures)
        self._loaded: dict[str, Loaded] = {}

    def at(self, values: Mapping[str, Data]) -> Loaded:
        """The experiment with these values at their paths; an InputError if it cannot be run."""
        name = json.dumps(values)
        if name not in self._loaded:
            document = self._document
            for dotted, value in values.items():
                document = document.put(self.paths[dotted], value, {(): "--vary"})
            self._loaded[name] = load(document)
        return self._loaded[name]

    def refusal(self, values: Mapping[str, Data]) -> tuple[Fault, ...]:
        """Why the experiment cannot be run with these values; nothing if it can."""
        try:
            self.at(values)
        except InputError as error:
            return error.faults
        return ()

    def unused(self, loaded: Loaded) -> list[str]:
        """What the experiment asks for and a search leaves aside."""
        draws = ["the draws of the latency model are not run"] if loaded.drawn else []
        until = ["sweep.until is left aside: a search has its own rule for seeds"]
        return draws + (until if self._until else [])

    def given(self, dotted: str) -> Data:
        """The value in the file, else the default; None if there is neither."""
        path = self.paths[dotted]
        written = self._document.get(path)
        if written is not None:
            return written
        points = self.at({}).points
        if path[0] == "systems":
            points = [point for point in points if point.labels["system"] == path[1]]
            path = ("system", *path[2:])
        return value_at(points[0].plain, path) if points else None

    def only_whole(self, dotted: str, number: float) -> bool:
        """Whether the path takes whole numbers only; ``number`` is one that it takes."""
        faults = self.refusal({dotted: number + 0.5})
        return any(fault.code is Code.NOT_WHOLE for fault in faults)


def _path(document: Document, dotted: str) -> PathKey:
    path = document.path_of(dotted)
    first = str(path[0])
    if first in {"outputs", "sweep", "figures"} or (len(path) == 1 and first in NO_AXIS):
        raise InputError(f"--vary {dotted}: {first} cannot be varied")
    if dead_end := document.dead_end(path):
        raise InputError(f"--vary {dotted}: names nothing: {dead_end}")
    return path


def _prepared(document: Document, paths: Sequence[str], measures: Iterable[Measure]) -> Document:
    for dotted in paths:
        document = document.without(("sweep", "grid", dotted)).without(("sweep", "zip", dotted))
    document = document.without(("sweep", "seeds")).without(("sweep", "until"))
    if any(measure.metric == "be_retention" for measure in measures):
        document = document.put(("outputs", "be_retention"), True, {(): "--target"})
    return document
