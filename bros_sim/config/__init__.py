"""YAML text -> checked Python objects; every fault as ``file:line:column: path: what is wrong``.

``read_yaml`` turns a file into a ``Document``, plain data that remembers its places; ``decode``
checks it against a type and reports all faults at once. Text is never taken for a number.
"""

import sys
from collections.abc import Iterable, Mapping
from typing import TypeVar

from pydantic import ValidationError

from bros_sim.config import components, messages
from bros_sim.config.documents import Data, Document, get_step, has_step
from bros_sim.config.yaml_text import override, parse, read_yaml
from bros_sim.core.errors import Code, Fault, InputError, PathKey

__all__ = [
    "Data", "Document", "PathKey", "component_class", "decode", "override", "parse", "read_yaml"
]  # fmt: skip

T = TypeVar("T")


def decode(shape: type[T], document: Document, at: PathKey = ()) -> T:
    """Check the part of a document at ``at`` against a dataclass or a pydantic model, ``shape``.

    Only its init fields may occur, with exactly their types; an InputError has every fault, in
    order of its place.
    """
    _see_own_classes(document)
    try:
        return components.build(shape, document.get(at), {"directory": document.directory})
    except ValidationError as error:
        raise InputError(*_placed(messages.finished(error), document, at)) from None


def component_class(kinds: Mapping[str, type], written: Data, document: Document) -> type | None:
    """The class of a component that is written as ``{kind: ...}``; None where there is none."""
    kind = written.get("kind") if isinstance(written, dict) else None
    if not isinstance(kind, str) or ":" not in kind:
        return kinds.get(str(kind))
    _see_own_classes(document)
    try:
        return components.load_class(kind)
    except InputError:
        return None


def _see_own_classes(document: Document) -> None:
    if str(document.directory) not in sys.path:
        sys.path.append(str(document.directory))


def _placed(faults: Iterable[Fault], document: Document, at: PathKey) -> list[Fault]:
    by_place: dict[tuple[PathKey, bool], dict[Fault, None]] = {}
    for fault in faults:
        missing = fault.code is Code.MISSING_KEY
        path = at + _real_path(document.get(at), fault.path, missing=missing)
        same = by_place.setdefault((path, fault.code is Code.UNKNOWN_KEY), {})
        same[Fault(fault.code, path, fault.text)] = None
    order = {path: n for n, path in enumerate(document.places)}
    rank = {path: order.get(path, order.get(path[:-1], 0)) for path, _ in by_place}
    return [
        document.fault(path, fault.text, fault.code, key=key)
        for (path, key), same in sorted(by_place.items(), key=lambda item: rank[item[0][0]])
        for fault in _alternatives(list(same))
    ]


def _alternatives(same: list[Fault]) -> list[Fault]:
    """What the members of a union say of one value is one fault: it is neither of them."""
    codes = {fault.code for fault in same}
    if not codes <= {Code.VALUE, Code.NOT_WHOLE}:
        return same
    code = Code.NOT_WHOLE if Code.NOT_WHOLE in codes else Code.VALUE
    return [Fault(code, same[0].path, " or ".join(fault.text for fault in same))]


def _real_path(data: Data, loc: PathKey, *, missing: bool) -> PathKey:
    """``loc`` without the names that pydantic adds for the members of a union."""
    path: PathKey = ()
    for n, step in enumerate(loc):
        if has_step(data, step) or (missing and n == len(loc) - 1):
            path, data = (*path, step), get_step(data, step)
    return path
