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

Loc = tuple[int | str, ...]
MISSING = "this key is missing"
WORDS = {
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "valid array": "list",
    "an object": "a mapping",
    "a valid string": "text",
    "a valid dictionary": "a mapping",
}
"""pydantic's words -> ours."""
FAULT = "fault"
"""Error type of a finished message (what is wrong, without its place)."""


def nearest(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)``, or the list of what there is when nothing is near."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    if close:
        return f" (did you mean '{close[0]}'?)"
    return f" (known: {', '.join(names)})" if names else ""


def fault(loc: Loc, *whats: str) -> ValidationError:
    """Errors that pydantic carries to the right place in the document."""
    details = [InitErrorDetails(type=_custom(what), loc=loc, input=None) for what in whats]
    return ValidationError.from_exception_data("component", details)


def together(errors: Iterable[ValidationError]) -> ValidationError:
    """Several made by `fault` or from `finished` as one."""
    details = [
        InitErrorDetails(type=_custom(str(item["ctx"]["what"])), loc=item["loc"], input=None)
        for error in errors
        for item in error.errors(include_url=False)
    ]
    return ValidationError.from_exception_data("component", details)


def _custom(what: str) -> PydanticCustomError:
    return PydanticCustomError(FAULT, "{what}", {"what": what})


def finished(error: ErrorDetails, model: type) -> InitErrorDetails:
    """The same error at the same place with a message for users; ``model`` is what it failed."""
    return InitErrorDetails(type=_custom(_message(error, model)), loc=error["loc"], input=None)


def _message(error: ErrorDetails, model: type) -> str:
    kind, loc = error["type"], error["loc"]
    if kind == FAULT:
        return str(error["ctx"]["what"])
    if kind in {"extra_forbidden", "unexpected_keyword_argument"}:
        return f"unknown key{nearest(str(loc[-1]), known_keys(model, loc[:-1]))}"
    if kind in {"missing", "missing_argument"}:
        return MISSING
    if kind == "value_error":
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
    close = difflib.get_close_matches(error["input"], choices, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def shown(value: object) -> str:
    """A value as it would be written, cut to one short line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def known_keys(shape: object, loc: Loc) -> list[str]:
    """The keys that the mapping at ``loc`` inside ``shape`` may have."""
    for part in loc:
        shape = _below(shape, part)
    found = [item for item in _alternatives(shape) if isinstance(item, type)]
    return [name for item in found for name in _keys(item)]


def _keys(cls: type) -> list[str]:
    if issubclass(cls, BaseModel):
        return [item.alias or name for name, item in cls.model_fields.items()]
    if dataclasses.is_dataclass(cls):
        return [i.metadata.get("alias", i.name) for i in dataclasses.fields(cls) if i.init]
    return []


def _alternatives(shape: object) -> list[object]:
    """``X | None`` and ``Annotated[X, ...]`` without their wrapping."""
    origin = typing.get_origin(shape)
    if origin is typing.Annotated:
        return _alternatives(typing.get_args(shape)[0])
    if origin in {typing.Union, types.UnionType}:
        return [below for item in typing.get_args(shape) for below in _alternatives(item)]
    return [shape]


def _field_type(cls: type, key: str) -> object:
    if not issubclass(cls, BaseModel):
        return typing.get_type_hints(cls)[key]
    fields = cls.model_fields.items()
    return next(item.annotation for name, item in fields if key == (item.alias or name))


def _below(shape: object, part: int | str) -> object:
    """The type of what stands at key or position ``part``."""
    for item in _alternatives(shape):
        args = typing.get_args(item)
        if isinstance(item, type) and str(part) in _keys(item):
            return _field_type(item, str(part))
        if isinstance(part, int) and args:
            return args[0] if len(args) <= part or args[-1] is Ellipsis else args[part]
        if typing.get_origin(item) in {dict, Mapping}:
            return args[1]
    return object
