"""The one way to say that an input is wrong."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

PathKey = tuple[str | int, ...]
"""Keys and positions from the top of a document down to a value."""


class Code(StrEnum):
    """The kind of a fault, for code to ask about; its text is for people alone."""

    OTHER = "other"
    UNKNOWN_KEY = "unknown key"
    MISSING_KEY = "missing key"
    VALUE = "value"
    """The value should be another one."""
    NOT_WHOLE = "not a whole number"


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with an input; ``path`` is where in its document, () for all of it.

    ``place`` is that of the document, or of the value in it: ``file:line:column`` or an option.
    """

    code: Code
    path: PathKey
    text: str
    place: str = ""

    def __str__(self) -> str:
        """One finished line: ``file:line:column: path: what is wrong``."""
        colon = "" if self.place in {"", "--set"} else ":"
        return f"{self.place}{colon}{' ' if self.place else ''}{show_path(self.path)}{self.text}"


def show_path(path: Iterable[str | int]) -> str:
    """``a.b.0: ``, or nothing for the whole document."""
    text = ".".join(str(part) for part in path)
    return f"{text}: " if text else ""


class InputError(Exception):
    """Bad input, with every `Fault` that was found; a text is one without a path.

    Library code never prints it; the command line prints every fault to stderr and exits with 2.
    """

    def __init__(self, *faults: Fault | str) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(
            Fault(Code.OTHER, (), each) if isinstance(each, str) else each for each in faults
        )

    @property
    def lines(self) -> tuple[str, ...]:
        """The faults as finished lines."""
        return tuple(map(str, self.faults))


class RunStopped(Exception):
    """A run cannot go on although its input is good: one finished line, exit code 1."""


class LawBroken(AssertionError):
    """A law of docs/invariants.md does not hold: a bug in the simulator or in a policy."""
