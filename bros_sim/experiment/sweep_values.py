"""The values of a swept path: a list, a range of numbers, or choices spelt out."""

from decimal import Decimal
from typing import Annotated, Any

from annotated_types import Len
from pydantic import BeforeValidator, WithJsonSchema

from bros_sim.config.messages import fault, shown

MAX_VALUES = 10_000
"""Most values of a range: far above honest use."""
FORMS = ("range", "choices")


def _written_out(value: object) -> object:
    """The list that ``{range: ...}`` or ``{choices: ...}`` stands for; all else as it is."""
    if not isinstance(value, dict):
        return value
    if len(value) != 1 or next(iter(value)) not in FORMS:
        what = "should be a list, {range: [first, last, step]} or {choices: [...]}"
        raise fault((), f"{what} (got {shown(value)})")
    if "choices" in value:
        return value["choices"]
    return _numbers(value["range"])


def _numbers(ends: object) -> list[int | float]:
    """From the first on in steps up to the last: decimal, as written, with nothing added up."""
    if not isinstance(ends, list) or len(ends) != 3 or not all(map(_is_number, ends)):
        raise fault(("range",), f"should be [first, last, step] (got {shown(ends)})")
    first, last, step = (Decimal(repr(number)) for number in ends)
    if not (first <= last and step > 0):
        raise fault(("range",), f"should go up, by a step over 0 (got {shown(ends)})")
    steps = int((last - first) / step)
    if steps >= MAX_VALUES:
        raise fault(("range",), f"has more than {MAX_VALUES:,} values")
    exact = [first + n * step for n in range(steps + 1)]
    return [int(x) if x == x.to_integral_value() else float(x) for x in exact]


def _is_number(value: object) -> bool:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and Decimal(repr(value)).is_finite()


_LIST: dict[str, Any] = {"type": "array", "minItems": 1}
_RANGE = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}


def _alone(key: str, below: dict[str, Any], help_text: str) -> dict[str, Any]:
    """The schema of a mapping with that one key."""
    return {
        "type": "object",
        "properties": {key: {**below, "description": help_text}},
        "required": [key],
        "additionalProperties": False,
    }


Values = Annotated[
    list[Any],
    Len(1),
    BeforeValidator(_written_out),
    WithJsonSchema(
        {
            "anyOf": [
                _LIST,
                _alone("range", _RANGE, "[first, last, step], the last one included"),
                _alone("choices", _LIST, "the same as a list"),
            ]
        }
    ),
]
"""What a path takes one after the other, at least one."""
