"""Dataclasses as configuration: the init fields of a component are its YAML keys.

A component is a plain dataclass in a table ``kind -> class``. Its constraints stand in
``Annotated[int, Ge(1), Doc("help")]``; what is ``init=False`` is run-time memory and no key.
``kind: my_pkg.my_module:MyScheduler`` names a class of the user's own.
"""

import dataclasses
import importlib
import json
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import MISSING, dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pydantic
from annotated_doc import Doc
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from pydantic_core import core_schema as schemas

from bros_sim.config.messages import combined, finished, invalid, nearest, shown
from bros_sim.core.errors import Code, InputError
from bros_sim.core.world import Supplied

T = TypeVar("T")


class Strict(pydantic.BaseModel):
    """Base of every checked mapping: no unknown keys, no conversions, finite numbers."""

    model_config = pydantic.ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False
    )


def key(what: str, default: Any = ..., **limits: Any) -> Any:  # noqa: ANN401 - as pydantic.Field
    """A field of such a mapping: help, default or what makes it, and what its value may be."""
    given = {"default_factory" if callable(default) else "default": default}
    return pydantic.Field(**given, **limits, description=what or None)


class Mark(ABC):
    """Base of what marks a field: ``read`` makes its value from plain data, ``write`` undoes it."""

    @abstractmethod
    def read(self, value: object, info: pydantic.ValidationInfo) -> object:
        """Check plain data and make the value."""

    def write(self, made: object) -> dict[str, object] | None:
        """What ``read`` makes it from, defaults written out."""
        return plain(made)

    def __get_pydantic_core_schema__(
        self, source: object, handler: pydantic.GetCoreSchemaHandler
    ) -> CoreSchema:
        written = schemas.plain_serializer_function_ser_schema(self.write)
        return schemas.with_info_plain_validator_function(self.read, serialization=written)


@dataclass(frozen=True)
class Kinds(Mark):
    """Marks a field that holds one component: ``Annotated[Scheduler, Kinds("scheduler", TABLE)]``.

    ``table`` may be a function, for a component that holds others of its own table. A class of the
    user's own must have the public methods of ``contract``. With ``bare``, a kind that stands alone
    is left as the class: a profile has the rest.
    """

    what: str
    table: Mapping[str, type] | Callable[[], Mapping[str, type]] = dataclasses.field(repr=False)
    contract: type | None = None
    bare: bool = False

    def __hash__(self) -> int:
        return hash(self.what)

    @property
    def classes(self) -> Mapping[str, type]:
        """The table itself."""
        return self.table() if callable(self.table) else self.table

    def read(self, value: object, info: pydantic.ValidationInfo) -> object:
        """Check ``{kind: ..., <init fields>}`` and make the component."""
        if not isinstance(value, dict):
            what = f"should be a mapping with the key 'kind' (got {shown(value)})"
            raise invalid((), what, Code.VALUE)
        if "kind" not in value:
            raise invalid((), f"the key 'kind' is missing{nearest('', self.classes)}")
        kind = value["kind"]
        if not isinstance(kind, str):
            raise invalid(("kind",), f"should be text (got {shown(kind)})", Code.VALUE)
        cls = self.classes.get(kind) or self._own(kind)
        values = {key: below for key, below in value.items() if key != "kind"}
        if self.bare and not values and issubclass(cls, tuple(self.classes.values())):
            return cls
        return build(cls, values, info.context)

    def _own(self, kind: str) -> type:
        if ":" not in kind:
            hint = nearest(kind, self.classes)
            raise invalid(("kind",), f"there is no {self.what} of kind '{kind}'{hint}")
        try:
            cls = load_class(kind)
        except InputError as error:
            raise invalid(("kind",), str(error)) from None
        lacking = sorted(_members(self.contract) - _members(cls)) if self.contract else []
        if lacking:
            what = f"{kind} is no {self.what}: it has no {', '.join(lacking)}"
            raise invalid(("kind",), what)
        return cls

    def write(self, made: object) -> dict[str, object]:
        """The mapping ``{kind: ..., <init fields>}``."""
        cls = made if isinstance(made, type) else type(made)
        kind = next((name for name, known in self.classes.items() if known is cls), None)
        values = {} if made is cls else plain(made)
        return {"kind": kind or f"{cls.__module__}:{cls.__qualname__}", **values}

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: pydantic.GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        models = [_with_kind(kind, cls) for kind, cls in self.classes.items()]
        known = [handler(model.__pydantic_core_schema__) for model in models]
        known += [alone("kind", {"const": kind}) for kind in self.classes if self.bare]
        own = {"type": "string", "pattern": "^[^:]+:[^:]+$", "description": "module:Class"}
        other = {"type": "object", "properties": {"kind": own}, "required": ["kind"]}
        return {"anyOf": [*known, other]}


@dataclass(frozen=True)
class Record(Mark):
    """Marks a field that holds one dataclass: ``Annotated[Slo, Record(Slo)]``."""

    cls: type

    def read(self, value: object, info: pydantic.ValidationInfo) -> object:
        """Check the mapping of the init fields and make the dataclass."""
        return build(self.cls, value, info.context)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: pydantic.GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(model_of(self.cls).__pydantic_core_schema__)


def _members(cls: type) -> set[str]:
    fields = {name for base in cls.__mro__ for name in vars(base).get("__annotations__", {})}
    return {name for name in fields | set(dir(cls)) if not name.startswith("_")}


def load_class(name: str) -> type:
    """Import ``module:Class``, a dataclass of the user's own."""
    module_name, _, class_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a user's module may fail in any way
        raise InputError(f"cannot import {module_name}: {error}") from None
    cls = getattr(module, class_name, None)
    if cls is None:
        classes = [key for key, value in vars(module).items() if isinstance(value, type)]
        raise InputError(f"{module_name} has no class {class_name}{nearest(class_name, classes)}")
    if not isinstance(cls, type) or not dataclasses.is_dataclass(cls):
        raise InputError(f"{name} is not a dataclass")
    return cls


@cache
def model_of(cls: type) -> type[Strict]:
    """The pydantic model of a dataclass: its init fields alone, with help and defaults."""
    hints = hints_of(cls)
    fields: dict[str, Any] = {
        item.name: (hints[item.name], _field(item, hints[item.name])) for item in init_fields(cls)
    }
    return pydantic.create_model(cls.__name__, __base__=Strict, __doc__=cls.__doc__, **fields)


@cache
def _with_kind(kind: str, cls: type) -> type[Strict]:
    """The mapping of one kind as the JSON schema shows it; what is supplied says from what."""
    doc = (cls.__doc__ or "").strip().partition("\n")[0]
    model = model_of(cls)
    fields: dict[str, Any] = {"kind": (typing.Literal[kind], ...)}
    for name, mark in supplied(cls).items():
        field = copy(model.model_fields[name])
        field.default, field.description = None, f"{field.description}; default: {mark.source}"
        fields[name] = (field.annotation, field)
    return pydantic.create_model(f"{cls.__name__}_{kind}", __base__=model, __doc__=doc, **fields)


def alone(key: str, below: Mapping[str, object]) -> dict[str, object]:
    """The JSON schema of a mapping with that one key."""
    shape = {"type": "object", "properties": {key: below}, "required": [key]}
    return {**shape, "additionalProperties": False}


def _field(item: "dataclasses.Field[Any]", hint: object) -> Any:  # noqa: ANN401 - pydantic's own
    said: dict[str, Any] = {
        "description": documentation(hint),
        "alias": item.metadata.get("alias", MISSING),
        "default": item.default,
        "default_factory": item.default_factory,
    }
    return pydantic.Field(**{key: value for key, value in said.items() if value is not MISSING})


def hints_of(cls: type) -> dict[str, Any]:
    """The types of its fields with their metadata."""
    return typing.get_type_hints(cls, include_extras=True)


def init_fields(cls: type) -> list["dataclasses.Field[Any]"]:
    """The fields that YAML sets."""
    return [item for item in dataclasses.fields(cls) if item.init]


def supplied(cls: type) -> dict[str, Supplied]:
    """The parameters that follow from the rest of the experiment where YAML leaves them out."""
    marks = {name: getattr(hint, "__metadata__", ()) for name, hint in hints_of(cls).items()}
    return {name: m for name, said in marks.items() for m in said if isinstance(m, Supplied)}


def documentation(hint: object) -> str | None:
    """The ``Doc`` text of an ``Annotated`` type."""
    metadata = getattr(hint, "__metadata__", ())
    return next((item.documentation for item in metadata if isinstance(item, Doc)), None)


def build(shape: type[T], value: object, context: Mapping[str, Path] | None = None) -> T:
    """Make ``shape`` from plain data; the first step is strict JSON, so text is never a number.

    The faults of a pydantic.ValidationError are finished messages at their places.
    """
    cls: Any = shape
    record = dataclasses.is_dataclass(cls)
    model = model_of(cls) if record else cls
    try:
        made: Any = pydantic.TypeAdapter(model).validate_json(json.dumps(value), context=context)
    except pydantic.ValidationError as error:
        raise combined(finished(error, model)) from None
    if not record:
        return typing.cast("T", made)
    values = {key: getattr(made, key) for key in made.model_fields_set}
    for key, value in values.items():
        if isinstance(value, Path) and context:  # it starts from the folder of the document
            values[key] = context["directory"] / value
    try:
        return shape(**values)
    except InputError as error:
        raise combined(error.faults) from None
    except ValueError as error:
        raise invalid((), str(error)) from None


def plain(component: object) -> dict[str, object]:
    """The init fields of a component as plain data."""
    cls: Any = type(component)
    model = model_of(cls)
    values = {name: getattr(component, name) for name in model.model_fields}
    return model.model_construct(**values).model_dump(mode="json")
