"""Terms that the latency models share. Coefficients are in milliseconds, results in seconds."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, ClassVar, Protocol, Self, TypeVar

import numpy as np
from annotated_doc import Doc
from annotated_types import Ge
from numpy.typing import NDArray

from bros_sim.engine.latency_model import StepShape

MS = 1e-3
"""Seconds in a millisecond."""

M = TypeVar("M")

NonNegative = Annotated[float, Ge(0)]
Bound = Annotated[int, Ge(1)] | None


class ModelSource(Protocol):
    """What a profile is to a model: the place where its coefficients are found."""

    def latency_model(self, cls: type[M]) -> M:
        """The profile's instance of ``cls``; ``InputError`` if it has none."""


class FromProfile:
    """Mixin of the shipped models: a profile holds them ready-made, one of each kind at most."""

    kind: ClassVar[str]
    validity: "Validity"

    @classmethod
    def from_profile(cls, profile: ModelSource) -> Self:
        """The model with the coefficients of ``profile``.

        Raises:
            InputError: The profile has no coefficients for this kind of model.
        """
        return profile.latency_model(cls)

    def extrapolates(self, shape: StepShape) -> bool:
        return not self.validity.covers(shape)


@dataclass(frozen=True)
class Validity:
    """The range that a model was fitted on; ``None`` leaves a dimension unbounded."""

    max_tokens: Annotated[Bound, Doc("tokens computed in one iteration, prefill and decode")] = None
    max_decode_jobs: Annotated[Bound, Doc("requests that decode in one iteration")] = None
    max_kv_tokens: Annotated[Bound, Doc("KV tokens of all decoding requests together")] = None
    max_kv_tokens_per_job: Annotated[Bound, Doc("KV tokens of a decoding request, mean")] = None
    max_chunk_tokens: Annotated[Bound, Doc("tokens of one prefill chunk")] = None
    max_context_tokens: Annotated[Bound, Doc("cached tokens before a prefill chunk")] = None

    def covers(self, shape: StepShape) -> bool:
        """Whether the shape lies inside; a convex set, so both ends of a stretch suffice."""
        chunks, seqs, kv, _ = shape
        tokens = seqs
        for chunk, context in chunks:
            tokens += chunk
            if _above(chunk, self.max_chunk_tokens) or _above(context, self.max_context_tokens):
                return False
        return not (
            _above(tokens, self.max_tokens)
            or _above(seqs, self.max_decode_jobs)
            or _above(kv, self.max_kv_tokens)
            or (seqs and _above(kv / seqs, self.max_kv_tokens_per_job))
        )


EVERYWHERE = Validity()
"""No bound at all: for costs that are set and not fitted."""


def _above(value: float, bound: int | None) -> bool:
    return bound is not None and value > bound


@dataclass(frozen=True)
class PerSequence:
    """A cost of ``const_ms + per_seq_ms * sequences``."""

    const_ms: NonNegative = 0.0
    per_seq_ms: NonNegative = 0.0


FREE = PerSequence()


@dataclass(frozen=True)
class TokenCurve:
    """Milliseconds against a number of tokens: linear between the knots.

    Held constant below the first knot, proportional to the tokens beyond the last one.
    """

    n: tuple[Annotated[int, Ge(1)], ...]
    ms: tuple[NonNegative, ...]
    _segments: tuple[tuple[float, float], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_grid("n", self.n)
        require_lengths(n=self.n, ms=self.ms)
        inner = segments(self.n, self.ms)
        ends = ((self.ms[0], 0.0), (0.0, self.ms[-1] / self.n[-1]))
        object.__setattr__(self, "_segments", (ends[0], *inner, ends[1]))

    def at(self, tokens: int) -> float:
        """Milliseconds of ``tokens``."""
        base, slope = self._segments[bisect_right(self.n, tokens)]
        return base + slope * tokens


def segments(x: Sequence[float], y: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """``(intercept, slope)`` of the straight line between each two neighbouring points."""
    lines = []
    for (x0, y0), (x1, y1) in pairwise(zip(x, y, strict=True)):
        slope = (y1 - y0) / (x1 - x0)
        lines.append((y0 - slope * x0, slope))
    return tuple(lines)


def kv_line(
    base_s: float, slope_s: float, decode_jobs: int, kv_tokens: int, repeat: int
) -> NDArray[np.float64]:
    """``base + slope * kv`` of ``repeat`` iterations, each with ``decode_jobs`` more KV tokens.

    The same two roundings as the scalar expression in ``step_s``: token counts are exact integers
    below 2**53, so the two agree bit for bit.
    """
    return base_s + slope_s * kv_series(decode_jobs, kv_tokens, repeat)


def kv_series(decode_jobs: int, kv_tokens: int, repeat: int) -> NDArray[np.float64]:
    """Summed KV of ``repeat`` consecutive decode iterations of a fixed batch; exact integers."""
    return kv_tokens + decode_jobs * np.arange(repeat, dtype=np.float64)


def require_grid(name: str, values: Sequence[float]) -> None:
    """Raise ``ValueError`` unless there is a value and they increase strictly."""
    if not values or not all(math.isfinite(value) for value in values):
        raise ValueError(f"{name} needs at least one number, all of them finite")
    if any(low >= high for low, high in pairwise(values)):
        raise ValueError(f"{name} must increase strictly")


def require_lengths(**columns: Sequence[object]) -> None:
    """Raise ``ValueError`` unless all columns are equally long."""
    if len({len(column) for column in columns.values()}) > 1:
        sizes = ", ".join(f"{name} has {len(column)}" for name, column in columns.items())
        raise ValueError(f"the lists must be equally long ({sizes})")
