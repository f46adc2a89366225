"""YAML text -> `Document`, with the place of every key and value; plain data -> YAML text."""

import contextlib
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import ReusedAnchorWarning, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from bros_sim.config.documents import Data, Document
from bros_sim.core.errors import Code, Fault, InputError, PathKey

MAX_VALUES = 200_000
"""Values in one document, aliases written out: far above honest use, far below an alias bomb."""
MAX_BYTES = 4_000_000
MAX_DEPTH = 50
MAX_DIGITS = 400
"""Longest integer that is read: any float fits; longer ones only cost time."""
PLAIN = re.compile(r"[A-Za-z_][\w./+-]*")
"""Text that needs no quotes, unless it is one of WORDS."""
WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
"""Text that some YAML would read as something else, in any case of letters."""


def read_yaml(path: str | Path) -> Document:
    """Read one YAML file; an InputError if it is not UTF-8, not YAML, or not a mapping."""
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise InputError(f"{path!r}: not a file name: {error}") from None
    if len(raw) > MAX_BYTES:
        what = f"more than {MAX_BYTES / 1e6:.0f} MB; bulk data belongs into CSV, JSON or Parquet"
        raise InputError(f"{path}: {what}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        what = f"byte 0x{raw[error.start]:02x} is not UTF-8 text"
        raise InputError(f"{path}:{line}:{column}: {what}") from None
    return parse(text, str(path))


def parse(text: str, filename: str) -> Document:
    """Parse YAML text whose top is a mapping; ``filename`` is what error lines name."""
    reader = _Reader(filename)
    data = reader.read(text)
    if not isinstance(data, dict):
        what = "the file is empty" if data is None else "must be a mapping of keys to values"
        raise InputError(*reader.faults, f"{filename}:1:1: {what}")
    if reader.faults:
        raise InputError(*reader.faults)
    return Document(filename, data, reader.places, reader.key_places)


def override(document: Document, assignment: str) -> Document:
    """Apply one ``--set path=value``; the value follows the rules of YAML."""
    dotted, equals, text = assignment.partition("=")
    dotted = dotted.strip()
    if not equals or not all(dotted.split(".")):
        raise InputError(f"--set {assignment}: write it as path=value, as in seed=3")
    reader = _Reader(f"--set {dotted}")
    try:
        value = reader.read(text)
    except InputError as error:
        reader.faults[:] = error.faults
    if reader.faults:
        raise InputError(*(f"--set {dotted}: {fault.text}" for fault in reader.faults))
    places = dict.fromkeys(reader.places, "--set") | {(): "--set"}
    path = document.path_of(dotted)
    if dead_end := document.dead_end(path):
        raise InputError(f"--set {dotted}: names nothing: {dead_end}")
    return document.put(path, value, places)


class _Reader:
    """Turns composed YAML nodes into plain data and notes where each stands."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        self.faults: list[Fault] = []
        self.places: dict[PathKey, str] = {(): f"{filename}:1:1"}
        self.key_places: dict[PathKey, str] = {}
        self._yaml = YAML(typ="safe", pure=True)

    def read(self, text: str) -> Data:
        """The plain data of ``text``; invalid values are noted and read as ``None``."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ReusedAnchorWarning)
                node = self._yaml.compose(text)
        except YAMLError as error:
            mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
            where = self._at(mark.line, mark.column) if mark else self._at()
            what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
            raise _whole(where, f"not YAML: {' '.join(str(what).split())}") from None
        except RecursionError:
            raise _whole(self._at(), "nested too deeply") from None
        except (ValueError, OverflowError, MemoryError) as error:  # an escape of no character
            raise _whole(self._at(), f"not YAML: {error}") from None
        return None if node is None else self._value(node, ())

    def _at(self, line: int = 0, column: int = 0) -> str:
        return f"{self.filename}:{line + 1}:{column + 1}"

    def _place(self, node: Node) -> str:
        return self._at(node.start_mark.line, node.start_mark.column)

    def _value(self, node: Node, path: PathKey) -> Data:
        self.places[path] = self._place(node)
        if len(self.places) > MAX_VALUES or len(path) > MAX_DEPTH:
            what = "nested too deeply" if len(path) > MAX_DEPTH else "too many values"
            raise _whole(self._place(node), f"{what} (do anchors and aliases form a loop?)")
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        return [self._value(item, (*path, n)) for n, item in enumerate(node.value)]

    def _mapping(self, node: Node, path: PathKey) -> dict[str, Data]:
        data: dict[str, Data] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode) or not str(key.tag).endswith((":str", ":merge")):
                shown = key.value if isinstance(key, ScalarNode) else "a list or mapping"
                self._fault(key, path, f"a key must be text, not {shown}; put it in quotes")
                continue
            below = (*path, key.value)
            if key.value in data:
                first = self.key_places[below].removeprefix(f"{self.filename}:").partition(":")[0]
                self._fault(key, below, f"duplicate key; it is first set in line {first}")
                continue
            self.key_places[below] = self._place(key)
            data[key.value] = self._value(value, below)
        return data

    def _fault(self, node: Node, path: PathKey, what: str) -> None:
        self.faults.append(Fault(Code.OTHER, path, what, self._place(node)))

    def _scalar(self, node: ScalarNode, path: PathKey) -> Data:
        kind = str(node.tag).removeprefix("tag:yaml.org,2002:")
        if kind in {"str", "timestamp", "merge"}:
            return str(node.value)
        what = f"{node.value} is not a valid {kind}"
        if kind not in {"null", "bool", "int", "float"}:
            what = f"the tag {node.tag} is not supported"
        elif kind == "int" and len(node.value) > MAX_DIGITS:
            what = f"a number of {len(node.value)} digits is too large"
        else:
            with contextlib.suppress(ValueError, KeyError, YAMLError):
                value: Data = self._yaml.constructor.construct_object(node)
                return value
        self._fault(node, path, what)
        return None


def _whole(place: str, what: str) -> InputError:
    return InputError(Fault(Code.OTHER, (), what, place))


def yaml_text(data: dict[str, Data]) -> str:
    """YAML in block style that reads as ``data``; all numbers in it are finite.

    ruamel.yaml does this too, at a fiftieth of the speed: a sweep of a thousand points would begin
    with twenty seconds of writing.
    """
    return "\n".join(_lines(data)) + "\n"


def _lines(value: Data) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, below in value.items():
            if isinstance(below, dict | list) and below:
                indent = "  " if isinstance(below, dict) else ""
                yield f"{_written(key)}:"
                yield from (indent + line for line in _lines(below))
            else:
                yield f"{_written(key)}: {_written(below)}"
    elif isinstance(value, list) and value:
        for item in value:
            first, *rest = _lines(item)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
    else:
        yield _written(value)


def _written(value: Data) -> str:
    """Text without quotes where that is safe; all else as in JSON, which is YAML."""
    if not isinstance(value, str):
        return json.dumps(value)
    if PLAIN.fullmatch(value) and value.lower() not in WORDS:
        return value
    safe = (c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in value)
    return f'"{"".join(safe)}"'
