"""What a component's parameters are, in words: for `bros-sim list` and the documentation."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from bros_sim.config.components import Kinds, documentation, hints_of, init_fields, supplied


class Parameter(typing.NamedTuple):
    """One init field of a component, in words."""

    name: str
    type: str
    default: object
    help: str


def parameters(cls: type) -> list[Parameter]:
    """The init fields of a dataclass, as `bros-sim list` prints them."""
    hints = hints_of(cls)
    sources = {name: mark.source for name, mark in supplied(cls).items()}
    found = []
    for item in init_fields(cls):
        name, hint = item.metadata.get("alias", item.name), hints[item.name]
        default, text = sources.get(item.name, _default(item)), documentation(hint) or ""
        found.append(Parameter(name, _in_words(hint), default, text))
    return found


def _default(item: "dataclasses.Field[Any]") -> object:
    if item.default is not dataclasses.MISSING:
        return "its defaults" if dataclasses.is_dataclass(item.default) else item.default
    factory = item.default_factory
    return factory() if factory is not dataclasses.MISSING else "required"


SIGNS = {"Ge": ">=", "Gt": ">", "Le": "<=", "Lt": "<"}


def _in_words(hint: Any) -> str:  # noqa: ANN401 - any annotation
    """``int >= 1``, ``fcfs | priority``, ``list of number``."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        kinds = next((item for item in args[1:] if isinstance(item, Kinds)), None)
        if kinds is not None:
            return f"a {kinds.what} ({' | '.join(kinds.classes)})"
        limits = [(SIGNS.get(type(item).__name__), item) for item in args[1:]]
        bounds = [f" {sign} {dataclasses.astuple(item)[0]:g}" for sign, item in limits if sign]
        return _in_words(args[0]) + ",".join(bounds)
    if origin is typing.Literal:
        return " | ".join(map(str, args))
    if origin in {typing.Union, types.UnionType}:
        return " | ".join(map(_in_words, args))
    if origin in {dict, Mapping}:
        return "mapping"
    if origin in {tuple, list}:
        pair = f"[{', '.join(map(_in_words, args))}]"
        return f"list of {_in_words(args[0])}" if args[-1] is Ellipsis else pair
    words = {float: "number", str: "text", type(None): "none"}
    return words.get(hint) or str(getattr(hint, "__name__", hint))
