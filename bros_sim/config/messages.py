"""What is wrong, in plain words: pydantic's errors as finished messages with suggestions."""

import dataclasses
import difflib
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from bros_sim.core.errors import Code, Fault, PathKey

MISSING = "this key is missing"
WORDS = {
    "greater than or equal to": "at least", "less than or equal to": "at most",
    "valid array": "list", "an object": "a mapping", "a valid string": "text",
    "a valid dictionary": "a mapping",
}  # fmt: skip
"""pydantic's words -> ours."""
FINISHED = "finished"
"""Pydantic's error type of a `Fault` that only lacks its place."""
CODES = {
    "extra_forbidden": Code.UNKNOWN_KEY, "unexpected_keyword_argument": Code.UNKNOWN_KEY,
    "missing": Code.MISSING_KEY, "missing_argument": Code.MISSING_KEY,
    "int_type": Code.NOT_WHOLE, "int_from_float": Code.NOT_WHOLE, "value_error": Code.OTHER,
}  # fmt: skip
"""Pydantic's error types; what is not here is `Code.VALUE`."""


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that ``word`` probably stands for."""
    return next(iter(difflib.get_close_matches(word, sorted(known), n=1)), None)


def nearest(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)``, or the list of what there is when nothing is near."""
    names = sorted(known)
    if close := closest(word, names):
        return f" (did you mean '{close}'?)"
    return f" (known: {', '.join(names)})" if names else ""


def invalid(path: PathKey, text: str, code: Code = Code.OTHER) -> ValidationError:
    """One fault that pydantic carries to the right place in the document."""
    return combined([Fault(code, path, text)])


def combined(faults: Iterable[Fault]) -> ValidationError:
    """Several of them; what has a place of its own, in another document, names it in its text."""
    details = []
    for fault in faults:
        path, text = ((), str(fault)) if fault.place else (fault.path, fault.text)
        custom = PydanticCustomError(FINISHED, "{text}", {"text": text, "code": fault.code})
        details.append(InitErrorDetails(type=custom, loc=path, input=None))
    return ValidationError.from_exception_data("component", details)


def finished(error: ValidationError, model: type = object) -> list[Fault]:
    """What pydantic found, in words for users; ``model`` is what was refused."""
    return [_fault(item, model) for item in error.errors(include_url=False)]


def _fault(error: ErrorDetails, model: type) -> Fault:
    kind, path = error["type"], error["loc"]
    if kind == FINISHED:
        return Fault(error["ctx"]["code"], path, error["ctx"]["text"])
    code = CODES.get(kind, Code.VALUE)
    return Fault(code, path, _message(error, code, model))


def _message(error: ErrorDetails, code: Code, model: type) -> str:
    loc = error["loc"]
    if code is Code.UNKNOWN_KEY:
        return f"unknown key{nearest(str(loc[-1]), known_keys(model, loc[:-1]))}"
    if code is Code.MISSING_KEY:
        return MISSING
    if code is Code.OTHER:
        return str(error["ctx"]["error"])
    text = re.sub(
        r"^(Input|String|List|Dictionary|Tuple) | after validation, not \d+", "", error["msg"]
    )
    for theirs, ours in WORDS.items():
        text = text.replace(theirs, ours)
    return f"{text} (got {shown(error['input'])}{_guess(error)})"


def _guess(error: ErrorDetails) -> str:
    if error["type"] not in {"literal_error", "enum"} or not isinstance(error["input"], str):
        return ""
    choices = str(error["ctx"]["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
    close = closest(error["input"], choices)
    return f"; did you mean '{close}'?" if close else ""


def shown(value: object) -> str:
    """A value as it would be written, cut to one short line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def known_keys(shape: object, loc: PathKey) -> list[str]:
    """The keys that the mapping at ``loc`` inside ``shape`` may have."""
    for part in loc:
        shape = _below(shape, part)
    return [name for item in _alternatives(shape) for name in _keys(item)]


def _keys(cls: object) -> dict[str, object]:
    if isinstance(cls, type) and issubclass(cls, BaseModel):
        return {item.alias or name: item.annotation for name, item in cls.model_fields.items()}
    if isinstance(cls, type) and dataclasses.is_dataclass(cls):
        fields, hints = dataclasses.fields(cls), typing.get_type_hints(cls)
        return {i.metadata.get("alias", i.name): hints[i.name] for i in fields if i.init}
    return {}


def _alternatives(shape: object) -> list[object]:
    """``X | None`` and ``Annotated[X, ...]`` without their wrapping."""
    origin = typing.get_origin(shape)
    if origin is typing.Annotated:
        return _alternatives(typing.get_args(shape)[0])
    if origin in {typing.Union, types.UnionType}:
        return [below for item in typing.get_args(shape) for below in _alternatives(item)]
    return [shape]


def _below(shape: object, part: int | str) -> object:
    for item in _alternatives(shape):
        args, keys = typing.get_args(item), _keys(item)
        if str(part) in keys:
            return keys[str(part)]
        if isinstance(part, int) and args:
            return args[0] if len(args) <= part or args[-1] is Ellipsis else args[part]
        if typing.get_origin(item) in {dict, Mapping}:
            return args[1]
    return object
