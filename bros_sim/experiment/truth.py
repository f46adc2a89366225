"""``latency`` of an experiment: the model that advances the clock, and how sure one is of it."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import GetJsonSchemaHandler, ValidationError, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from bros_sim.config.components import Kinds, Mark, Strict, build, key
from bros_sim.config.messages import combined, finished
from bros_sim.core.errors import Code, Fault
from bros_sim.latency import LATENCY_MODELS
from bros_sim.latency.term_parameters import LatencyParameters

KINDS = Kinds("latency model", LATENCY_MODELS, LatencyParameters, bare=True)
Model = LatencyParameters | type[LatencyParameters] | None
"""A model written out, the profile's of that kind, or the profile's default."""


class TruthOptions(Strict):
    """What ``latency`` may say beside, or without, a component."""

    uncertainty: bool = key(
        "run draws from the profile's uncertainty besides: bands in the figures", False
    )
    draws: int = key("models drawn, with uncertainty", 20, ge=2, le=1000)
    noise: bool = key("scatter each iteration as the residuals of the profile's fit", False)


@dataclass(frozen=True)
class Truth:
    """The model that advances the clock, with what `TruthOptions` says of it."""

    model: Model
    options: TruthOptions = field(default_factory=lambda: TruthOptions.model_validate({}))

    @property
    def draws(self) -> int:
        """How many models are drawn; 0 without uncertainty."""
        return self.options.draws if self.options.uncertainty else 0

    def at_a_point(self, drawn: LatencyParameters | None = None) -> object:
        """What ``latency`` of a point says: the model, or the one drawn instead, and its noise."""
        model = self.model if drawn is None else drawn
        noise = TruthOptions.model_validate({"noise": True})
        return Truth(model, noise) if self.options.noise else model


def truth_of(written: object) -> Truth:
    """``latency`` as it is read, options or not."""
    return written if isinstance(written, Truth) else Truth(written)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Options(Mark):
    """What is left without the options is for ``KINDS`` to read and write."""

    def read(self, value: object, info: ValidationInfo) -> object:
        """A component where no option is written, else a `Truth`."""
        if not isinstance(value, dict):
            return KINDS.read(value, info)
        mine = {key: below for key, below in value.items() if key in TruthOptions.model_fields}
        rest = {key: below for key, below in value.items() if key not in mine}
        faults: list[Fault] = []
        options, model = Truth(None).options, None
        try:
            options = build(TruthOptions, mine)
        except ValidationError as error:
            faults += finished(error)
        try:
            model = KINDS.read(rest, info) if rest or not mine else None
        except ValidationError as error:
            faults += finished(error)
        if "draws" in mine and not options.uncertainty and not faults:
            faults.append(Fault(Code.OTHER, ("draws",), "needs uncertainty: true"))
        if faults:
            raise combined(faults)
        plain = not (options.uncertainty or options.noise)
        return model if plain else Truth(model, options)  # type: ignore[arg-type]

    def write(self, made: object) -> dict[str, object] | None:
        """None where the profile says all."""
        truth = truth_of(made)
        component = {} if truth.model is None else KINDS.write(truth.model)
        return {**component, **truth.options.model_dump(exclude_defaults=True)} or None

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        options = handler.resolve_ref_schema(handler(TruthOptions.__pydantic_core_schema__))
        known = KINDS.__get_pydantic_json_schema__(schema, handler)["anyOf"]
        kinds = map(handler.resolve_ref_schema, known)
        more = options["properties"]
        whole = [{**one, "properties": {**one["properties"], **more}} for one in kinds]
        return {"anyOf": [*whole, options]}


TruthField = Annotated[Any, _Options()]
