"""What ``sweep`` says: the values of each path, seeds, and how narrow intervals are to be."""

from decimal import Decimal
from typing import Annotated, Any

from annotated_types import Len
from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from bros_sim.config.components import Strict, alone
from bros_sim.config.messages import combined, invalid, shown
from bros_sim.core.errors import Code, Fault, InputError
from bros_sim.metrics.measures import Measure, Width

MAX_VALUES = 10_000
"""Most values of a range: far above honest use."""
FORMS = ("range", "choices")
LEAST_SEEDS = 5
"""With fewer an interval is too uncertain to stop at it."""


def _written_out(value: object) -> object:
    """The list that ``{range: ...}`` or ``{choices: ...}`` stands for; all else as it is."""
    if not isinstance(value, dict):
        return value
    if len(value) != 1 or next(iter(value)) not in FORMS:
        what = "should be a list, {range: [first, last, step]} or {choices: [...]}"
        raise invalid((), f"{what} (got {shown(value)})", Code.VALUE)
    if "choices" in value:
        return value["choices"]
    return _numbers(value["range"])


def _numbers(ends: object) -> list[int | float]:
    """From the first on in steps up to the last: decimal, as written, with nothing added up."""
    if not isinstance(ends, list) or len(ends) != 3 or not all(map(_is_number, ends)):
        what = f"should be [first, last, step] (got {shown(ends)})"
        raise invalid(("range",), what, Code.VALUE)
    first, last, step = (Decimal(repr(number)) for number in ends)
    if not (first <= last and step > 0):
        raise invalid(("range",), f"should go up, by a step over 0 (got {shown(ends)})")
    steps = int((last - first) / step)
    if steps >= MAX_VALUES:
        raise invalid(("range",), f"has more than {MAX_VALUES:,} values")
    exact = [first + n * step for n in range(steps + 1)]
    return [int(x) if x == x.to_integral_value() else float(x) for x in exact]


def _is_number(value: object) -> bool:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and Decimal(repr(value)).is_finite()


_LIST: dict[str, Any] = {"type": "array", "minItems": 1}
_RANGE = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}
_ENDS = "[first, last, step], the last one included"
_WRITTEN = [
    _LIST,
    alone("range", {**_RANGE, "description": _ENDS}),
    alone("choices", {**_LIST, "description": "the same as a list"}),
]
Values = Annotated[
    list[Any], Len(1), BeforeValidator(_written_out), WithJsonSchema({"anyOf": _WRITTEN})
]
"""What a path takes one after the other, at least one."""


class Until(Strict):
    """More seeds at every point of the grid until its intervals are narrow enough."""

    half_width: dict[str, float | str] = Field(
        min_length=1,
        description="METRIC[CLASS] -> half of the 95 % interval over seeds that will do, in the"
        " metric's unit (a share from 0 to 1) or as `5 %` of the mean, under every system",
    )
    max_seeds: int = Field(100, ge=LEAST_SEEDS, le=10_000, description="no more than so many")

    @field_validator("half_width")
    @classmethod
    def _readable(cls, written: dict[str, float | str]) -> dict[str, float | str]:
        faults: list[Fault] = []
        for name, width in written.items():
            try:
                Width.parse(Measure.parse(name), width)
            except InputError as error:
                faults += [Fault(Code.OTHER, (name,), line) for line in error.lines]
        if faults:
            raise combined(faults)
        return written

    @property
    def widths(self) -> list[Width]:
        """What is asked."""
        return [Width.parse(Measure.parse(n), width) for n, width in self.half_width.items()]


class Sweep(Strict):
    """Points = systems x grid x zip x seeds."""

    grid: dict[str, Values] = Field(
        default_factory=dict, description="path of a value -> its values; each with each other's"
    )
    zip: dict[str, Values] = Field(
        default_factory=dict,
        description="path of a value -> its values; all paths here go on together",
    )
    seeds: int = Field(1, ge=1, le=10_000, description="seeds seed, seed + 1, ...")
    until: Until | None = Field(None, description="add seeds until intervals are narrow enough")

    @model_validator(mode="after")
    def _has_an_interval(self) -> "Sweep":
        if self.until and not LEAST_SEEDS <= self.seeds <= self.until.max_seeds:
            raise invalid(("seeds",), f"seeds has to be from {LEAST_SEEDS} to until.max_seeds")
        return self

    @property
    def paths(self) -> list[str]:
        """Every swept path."""
        return [*self.grid, *self.zip]
