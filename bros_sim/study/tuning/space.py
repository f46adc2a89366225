"""``PATH=LOW..HIGH`` and ``PATH=A,B,C``: the values among which a parameter is searched."""

import json
import math
import re
from dataclasses import dataclass

from bros_sim.config import Data, parse
from bros_sim.core.errors import InputError

FORMS = "write PATH=LOW..HIGH, PATH=LOW..HIGH:log or PATH=A,B,C"
ENDS = re.compile(r"(?P<low>[^,:]+?)\.\.(?P<high>[^,:]+)(?P<log>:log)?")
DIGITS = 4
"""Of a number inside a range: nobody reads more."""


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
    def size(self) -> float:
        """How many values there are."""
        return self.high - self.low + 1 if self.whole else math.inf

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
        return f"{self.path}={','.join(map(_shown, self.values))}"

    @property
    def size(self) -> float:
        """How many values there are."""
        return len(self.values)

    @property
    def edges(self) -> list[Data]:
        """Values that the experiment has to take, or the list is wrong."""
        return list(self.values)

    def holds(self, value: Data) -> bool:
        """Whether it is one of the values."""
        return json.dumps(value) in map(json.dumps, self.values)


Parameter = Range | Choice


def _shown(value: Data) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def read_parameter(text: str) -> Parameter:
    """Read one ``--vary``; whether a range is of whole numbers is for the experiment to say.

    Raises:
        InputError: It is not of one of the FORMS, or there is nothing to search.
    """
    path, equals, values = (part.strip() for part in text.partition("="))
    if not (path and equals and values):
        raise InputError(f"--vary {text}: {FORMS}")
    ends = ENDS.fullmatch(values)
    return _range(path, ends) if ends else _choice(path, values)


def _range(path: str, ends: re.Match[str]) -> Range:
    numbers = [_number(path, ends[name]) for name in ("low", "high")]
    low, high = numbers
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
