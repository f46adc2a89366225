"""The uncertainty of a model's coefficients, and models drawn from it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, TypeVar

import numpy as np
from annotated_doc import Doc
from annotated_types import Ge, Le, MinLen
from numpy.typing import NDArray

M = TypeVar("M")
Numbers = float | tuple["Numbers", ...]

MONOTONE = "tokens.ms"  # stays non-decreasing in every draw: more tokens never take less time


@dataclass(frozen=True)
class Uncertainty:
    """What is known of the error of one latency model of a profile.

    A draw multiplies every coefficient by one common factor ``exp(scale_pct / 100 * z0)`` and adds
    ``sum(z_i * factors[i])`` to the coefficients, all z standard normal: the covariance of the
    coefficients is the sum of the outer products of the factors.
    """

    basis: Annotated[Annotated[str, MinLen(1)], Doc("how both parts were found")]
    scale_pct: Annotated[
        Annotated[float, Ge(0), Le(100)],
        Doc("relative standard deviation of all iterations together, in percent"),
    ] = 0.0
    factors: Annotated[
        tuple[Mapping[str, tuple[float, ...]], ...],
        Doc("each: path of a coefficient or list -> what it adds, ms"),
    ] = ()

    def draw(self, model: M, rng: np.random.Generator) -> M:
        """A model whose coefficients lie where these errors put them; none turns negative."""
        scale = float(np.exp(self.scale_pct / 100 * rng.standard_normal()))
        weights = rng.standard_normal(len(self.factors))
        moved = model
        for path in {path: None for factor in self.factors for path in factor}:
            new = old = np.atleast_1d(np.asarray(get_coefficient(model, path), dtype=float))
            for weight, factor in zip(weights, self.factors, strict=True):
                if (size := len(factor.get(path, old))) != old.size:
                    counts = f"a factor has {size} numbers for {path}, the model has {old.size}"
                    raise ValueError(counts)
                new = new + weight * np.asarray(factor.get(path, 0.0), dtype=float)
            new = np.where(old >= 0, np.maximum(new, 0.0), new)
            if path == MONOTONE:
                new = np.maximum.accumulate(new)
            moved = set_coefficient(moved, path, new)
        return scaled(moved, scale)


def get_coefficient(model: object, path: str) -> object:
    """The number or tuple of numbers at a dotted path; `ValueError` if there is nothing."""
    found = model
    for name in path.split("."):
        if not hasattr(found, name):
            raise ValueError(f"the model has no coefficient {path}")
        found = getattr(found, name)
    return found


def set_coefficient(model: M, path: str, values: NDArray[np.float64]) -> M:
    """The model with other numbers at a dotted path."""
    name, _, rest = path.partition(".")
    old = getattr(model, name)
    flat = tuple(values.tolist()) if isinstance(old, tuple) else float(values[0])
    return _replaced(model, {name: set_coefficient(old, rest, values) if rest else flat})


def scaled(model: M, factor: float) -> M:
    """The model with every duration in it, whatever its form, times ``factor``."""
    changes: dict[str, object] = {}
    for item in dataclasses.fields(model):  # type: ignore[arg-type]
        value = getattr(model, item.name)
        if "ms" in item.name.split("_"):
            changes[item.name] = _times(value, factor)
        elif dataclasses.is_dataclass(value):
            changes[item.name] = scaled(value, factor)
    return _replaced(model, changes)


def _replaced(model: M, changes: Mapping[str, object]) -> M:
    changed: M = dataclasses.replace(model, **changes)  # type: ignore[type-var]
    return changed


def _times(value: Numbers, factor: float) -> Numbers:
    return tuple(_times(v, factor) for v in value) if isinstance(value, tuple) else factor * value
