"""Plain data that remembers where each key and value stands in its source."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path

from bros_sim.config.messages import nearest
from bros_sim.core.errors import Code, Fault, InputError, PathKey

Data = None | bool | int | float | str | list["Data"] | dict[str, "Data"]
Places = Mapping[PathKey, str]
"""Path -> what an error line about it starts with: ``file:line:column`` or ``--set``."""

NAMED = ("workload", "systems")
"""Sections whose keys are names of the user's own: a path into one never makes a new name."""
SWEPT: tuple[PathKey, ...] = (("sweep", "grid"), ("sweep", "zip"))
"""The sections whose keys are paths themselves."""


@dataclass(frozen=True)
class Document:
    """Plain data with the place of every key and value in its source."""

    filename: str
    data: dict[str, Data]
    places: Places = field(repr=False)
    key_places: Places = field(repr=False)

    @property
    def directory(self) -> Path:
        """The folder that relative paths in this document start from."""
        return Path(self.filename).resolve().parent

    def fault(
        self, path: PathKey, text: str, code: Code = Code.OTHER, *, key: bool = False
    ) -> Fault:
        """What is wrong with the value (or the key) at ``path``."""
        where = self.key_places if key else self.places
        known = (where[path[:n]] for n in range(len(path), -1, -1) if path[:n] in where)
        return Fault(code, path, text, next(known, "") or self.places[()])

    def faults(self, path: PathKey, error: InputError) -> list[Fault]:
        """What ``error`` says of the value at ``path``."""
        return [self.fault(path, line) for line in error.lines]

    def path_of(self, dotted: str) -> PathKey:
        """Split ``a.b.c`` along the keys that exist; keys may contain dots themselves."""
        parts = dotted.split(".")
        path: PathKey = ()
        here: Data = self.data
        while parts:
            new = len(parts) if path in SWEPT else 1
            known: Container[str] = here if isinstance(here, dict) else ()
            longest_first = range(len(parts), 0, -1)
            taken = next((n for n in longest_first if ".".join(parts[:n]) in known), new)
            text = ".".join(parts[:taken])
            step = int(text) if isinstance(here, list) and text.isdecimal() else text
            path, parts, here = (*path, step), parts[taken:], get_step(here, step)
        return path

    def dead_end(self, path: PathKey) -> str | None:
        """Why nothing can stand at ``path``.

        No obstacle is a mapping that `put` can make; whether its keys are right ``decode`` says.
        """
        here: Data = self.data
        for n, step in enumerate(path):
            way = ".".join(map(str, path[:n]))
            if not isinstance(here, dict | list):
                return f"{way} holds no keys"
            if not has_step(here, step):
                misnamed = n == 1 and path[0] in NAMED and len(path) > 2
                if not misnamed and isinstance(here, dict):
                    return None
                hint = nearest(str(step), here if isinstance(here, dict) else ())
                return f"{way} has no '{step}'{hint}"
            here = get_step(here, step)
        return None

    def places_below(self, path: PathKey) -> dict[PathKey, str]:
        """The places of the value at ``path`` and of all in it, relative to ``path``."""
        size = len(path)
        return {p[size:]: where for p, where in self.places.items() if p[:size] == path}

    def get(self, path: PathKey) -> Data:
        """The value at ``path``; ``None`` where there is nothing."""
        return value_at(self.data, path)

    def put(self, path: PathKey, value: Data, places: Places, key_place: str = "") -> "Document":
        """A copy with ``value`` at ``path``, missing mappings made; ``places`` are relative to it.

        A fault of the key itself is at ``key_place``, by default that of the value.
        """
        keep, keys = _outside(self.places, path), _outside(self.key_places, path)
        for depth in range(1, len(path)):
            if not has_step(self.get(path[: depth - 1]), path[depth - 1]):
                keys[path[:depth]] = key_place or places[()]
            if not isinstance(self.get(path[:depth]), dict | list):
                keep[path[:depth]] = places[()]
        moved = {path + below: where for below, where in places.items()}
        keys |= moved | {path: key_place or places[()]}
        return self._with(path, value, keep | moved, keys)

    def without(self, path: PathKey) -> "Document":
        """A copy without that key of a mapping; the same where there is none."""
        owner = self.get(path[:-1])
        if not isinstance(owner, dict):
            return self
        left = {key: value for key, value in owner.items() if key != path[-1]}
        keep, keys = _outside(self.places, path), _outside(self.key_places, path)
        return self._with(path[:-1], left, keep, keys)

    def _with(self, path: PathKey, value: Data, places: Places, key_places: Places) -> "Document":
        data = _put(self.data, path, value)
        assert isinstance(data, dict)
        return replace(self, data=data, places=places, key_places=key_places)


def _outside(places: Places, path: PathKey) -> dict[PathKey, str]:
    return {p: where for p, where in places.items() if p[: len(path)] != path}


def has_step(here: Data, step: str | int) -> bool:
    """Whether ``here`` has that key or position."""
    if isinstance(here, list):
        return isinstance(step, int) and step < len(here)
    return isinstance(here, dict) and step in here


def value_at(data: Data, path: PathKey) -> Data:
    """What stands at a path of plain data; ``None`` where nothing does."""
    return reduce(get_step, path, data)


def get_step(here: Data, step: str | int) -> Data:
    """What stands at a key or position; ``None`` where nothing does."""
    if not has_step(here, step):
        return None
    return here[step]  # type: ignore[index]


def _put(here: Data, path: PathKey, value: Data) -> Data:
    if not path:
        return value
    below = _put(get_step(here, path[0]), path[1:], value)
    if isinstance(here, list) and isinstance(path[0], int) and path[0] < len(here):
        return [below if n == path[0] else old for n, old in enumerate(here)]
    return {**(here if isinstance(here, dict) else {}), str(path[0]): below}
