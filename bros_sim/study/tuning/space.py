"""What is searched: ``PATH=LOW..HIGH`` and ``PATH=A,B,C``, in one system of an experiment."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bros_sim.config import Data, Document, parse
from bros_sim.config.messages import nearest
from bros_sim.core.errors import Fault, InputError
from bros_sim.experiment import Loaded, Point
from bros_sim.metrics.measures import Measure
from bros_sim.study.variation import Variation

FORMS = "write PATH=LOW..HIGH, PATH=LOW..HIGH:log or PATH=A,B,C"
ENDS = re.compile(r"(?P<low>[^,:]+?)\.\.(?P<high>[^,:]+)(?P<log>:log)?")
DIGITS = 4
"""Of a number inside a range: nobody reads more."""
Values = Mapping[str, Data]
"""Path -> value of each parameter."""


@dataclass(frozen=True)
class Range:
    """All numbers from ``low`` to ``high``, or the whole ones; ``log``: in equal ratios."""

    path: str
    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __str__(self) -> str:
        return f"{self.path}={self.low:g}..{self.high:g}{':log' if self.log else ''}"

    @property
    def numbers(self) -> range | None:
        """What stands for its values, one by one; None if they are not finite."""
        return range(int(self.low), int(self.high) + 1) if self.whole else None

    @property
    def edges(self) -> list[Data]:
        """Values that the experiment has to take, or the range is wrong."""
        return [self.written(self.low), self.written(self.high)]

    def written(self, number: float) -> Data:
        """A number of the range as the experiment gets it, with few digits."""
        if self.whole:
            return int(number)
        rounded = float(f"{number:.{DIGITS}g}")
        return min(max(rounded, self.low), self.high)

    def holds(self, value: Data) -> bool:
        """Whether it is one of the values."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Choice:
    """Some values of any kind, none nearer to one than to another."""

    path: str
    values: tuple[Data, ...]

    def __str__(self) -> str:
        shown = (value if isinstance(value, str) else json.dumps(value) for value in self.values)
        return f"{self.path}={','.join(shown)}"

    @property
    def numbers(self) -> range:
        """The places of its values in their list, which stand for them."""
        return range(len(self.values))

    @property
    def edges(self) -> list[Data]:
        """Values that the experiment has to take, or the list is wrong."""
        return list(self.values)

    def written(self, number: float) -> Data:
        """The value at a place in the list."""
        return self.values[int(number)]

    def holds(self, value: Data) -> bool:
        """Whether it is one of the values."""
        return json.dumps(value) in map(json.dumps, self.values)


Parameter = Range | Choice


def read_parameter(text: str) -> Parameter:
    """Read one ``--vary``; whether a range is of whole numbers is for the experiment to say."""
    path, equals, values = (part.strip() for part in text.partition("="))
    if not (path and equals and values):
        raise InputError(f"--vary {text}: {FORMS}")
    ends = ENDS.fullmatch(values)
    return _range(path, ends) if ends else _choice(path, values)


def _range(path: str, ends: re.Match[str]) -> Range:
    low, high = (_number(path, ends[name]) for name in ("low", "high"))
    option = f"--vary {path}={ends[0]}"
    if not low < high:
        raise InputError(f"{option}: {low:g} is not below {high:g}")
    if ends["log"] and low <= 0:
        raise InputError(f"{option}: a log range has to begin above 0")
    return Range(path, low, high, bool(ends["log"]))


def _number(path: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"--vary {path}: '{text.strip()}' is not a number: {FORMS}")
    return number


def _choice(path: str, text: str) -> Choice:
    option = f"--vary {path}={text}"
    try:
        values = parse(f"values: [{text}]", option).get(("values",))
    except InputError:
        raise InputError(f"{option}: not a list of YAML values: {FORMS}") from None
    assert isinstance(values, list)
    different = {json.dumps(value, sort_keys=True) for value in values}
    if len(values) < 2:
        raise InputError(f"{option}: one value is nothing to search: {FORMS}")
    if len(different) < len(values):
        raise InputError(f"{option}: a value is listed twice")
    return Choice(path, tuple(values))


class Setting:
    """One system of an experiment at any values of the parameters that are searched.

    ``loaded`` is the experiment as given, ``given`` its values; ranges in ``space`` know whether
    they are of whole numbers.
    """

    def __init__(
        self,
        document: Document,
        space: Sequence[Parameter],
        measures: Iterable[Measure],
        system: str | None = None,
    ) -> None:
        paths = [parameter.path for parameter in space]
        if twice := [path for path in paths if paths.count(path) > 1]:
            raise InputError(f"--vary {twice[0]}: is given twice")
        self.variation = Variation(document, paths, measures)
        self.loaded = self.variation.at({})
        self.system = self._system(list(self.loaded.spec.systems), system)
        _one_setting(self.loaded, self.system)
        self.space = [self._known(parameter) for parameter in space]
        if faults := dict.fromkeys(fault for p in self.space for fault in self._faults(p)):
            raise InputError(*faults)
        self.given: Values = {path: self.variation.given(path) for path in paths}

    def _system(self, systems: list[str], asked: str | None) -> str:
        if asked is not None and asked not in systems:
            raise InputError(f"--system {asked}: there is no such system{nearest(asked, systems)}")
        paths = self.variation.paths.items()
        of_paths = {str(path[1]): dotted for dotted, path in paths if path[0] == "systems"}
        choices = [asked] if asked is not None else list(of_paths) or systems
        for name, dotted in of_paths.items():
            if name != choices[0]:
                raise InputError(f"--vary {dotted}: is not of the system {choices[0]}")
        if len(choices) > 1:
            raise InputError(f"--system: say which one to tune: {', '.join(choices)}")
        return choices[0]

    def _known(self, parameter: Parameter) -> Parameter:
        if not isinstance(parameter, Range):
            return parameter
        ends = parameter.low.is_integer() and parameter.high.is_integer()
        whole = ends and self.variation.only_whole(parameter.path, parameter.low)
        return replace(parameter, whole=whole)

    def _faults(self, parameter: Parameter) -> Iterator[Fault]:
        """Why the experiment refuses the edges, whatever edge one of the others has."""
        different = [other for other in self.space if other is not parameter]
        others = [{other.path: value} for other in different for value in other.edges]
        for value in parameter.edges:
            first, *rest = ({parameter.path: value, **other} for other in ({}, *others))
            faults = self.variation.refusal(first)
            if faults and all(map(self.variation.refusal, rest)):
                yield from faults

    def points(self, values: Values, seeds: Iterable[int]) -> list[Point]:
        """The points with these values; without any those of the experiment as given."""
        points = self.variation.at(values).points
        point = next(p for p in points if p.labels["system"] == self.system)
        return [point.with_seed(seed) for seed in seeds]


def _one_setting(loaded: Loaded, system: str) -> None:
    points = [point for point in loaded.points if point.labels["system"] == system]
    for name in points[0].labels:
        values = {str(point.labels[name]) for point in points}
        if len(values) > 1:
            what = f"{name} has {len(values)} values: a search is for one setting"
            raise InputError(f"sweep: {what}: add --set 'sweep.grid.{name}=[VALUE]'")
