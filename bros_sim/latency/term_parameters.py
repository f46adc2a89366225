"""What the parameters of the latency models are made of; every cost is in milliseconds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import numpy as np
from annotated_doc import Doc
from annotated_types import Ge, Gt

from bros_sim.engine.latency_model import LatencyModel
from bros_sim.latency.terms import Lines, segments

NonNegative = Annotated[float, Ge(0)]
Bound = Annotated[int, Ge(1)] | None
Sizes = tuple[Annotated[int, Ge(1)], ...]
Rows = tuple[tuple[NonNegative, ...], ...]


@dataclass(frozen=True)
class Validity:
    """The range that a model was fitted on; ``None`` leaves a dimension unbounded."""

    max_tokens: Annotated[Bound, Doc("tokens computed in one iteration, prefill and decode")] = None
    max_decode_jobs: Annotated[Bound, Doc("requests that decode in one iteration")] = None
    max_kv_tokens: Annotated[Bound, Doc("KV tokens of all decoding requests together")] = None
    max_kv_tokens_per_job: Annotated[Bound, Doc("KV tokens of a decoding request, mean")] = None
    max_chunk_tokens: Annotated[Bound, Doc("tokens of one prefill chunk")] = None
    max_context_tokens: Annotated[Bound, Doc("cached tokens before a prefill chunk")] = None


EVERYWHERE = Validity()  # no bound at all: for costs that are set and not fitted


class LatencyParameters:
    """Base of the latency models' parameters: frozen dataclasses whose fields are the YAML's keys.

    A profile holds one of each shipped kind at most; the kind is the class's name in small letters.
    """

    validity: Validity = EVERYWHERE

    def make(self) -> LatencyModel:
        """The model that runs."""
        raise NotImplementedError


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

    n: Sizes
    ms: tuple[NonNegative, ...]

    def __post_init__(self) -> None:
        require_grid("n", self.n)
        require_lengths(n=self.n, ms=self.ms)

    def make(self) -> Lines:
        """The curve, ready to be evaluated."""
        last = (0.0, self.ms[-1] / self.n[-1])
        return Lines(self.n, ((self.ms[0], 0.0), *segments(self.n, self.ms), last))


@dataclass(frozen=True)
class EngineCosts:
    """What whole iterations of a running engine cost beyond their kernels; neutral by default.

    `bros-sim profile fit-runs` fits these numbers to recorded runs.
    """

    sustained_compute: Annotated[
        float, Gt(0), Doc("factor on what tokens beyond compute_bound_from add: sustained clocks")
    ] = 1.0
    compute_bound_from: Annotated[int, Ge(1), Doc("tokens that keep the matrix units busy")] = 256
    chunk_step_ms: Annotated[
        NonNegative, Doc("an iteration with a prefill chunk, which no full CUDA graph holds")
    ] = 0.0
    per_sequence_ms: Annotated[NonNegative, Doc("host time for each scheduled sequence")] = 0.0
    all_reduce: Annotated[float, Gt(0), Doc("factor on the all-reduce of model layers")] = 1.0

    def sustained(self, curve: TokenCurve) -> TokenCurve:
        """The curve at the clocks that last: steeper beyond ``compute_bound_from`` tokens."""
        edge, running = self.compute_bound_from, curve.make()
        if self.sustained_compute == 1.0:
            return curve
        knots = sorted({*curve.n, edge})
        base = running.at(edge)
        beyond = [self.sustained_compute if n > edge else 1.0 for n in knots]
        times = [base + f * (running.at(n) - base) for n, f in zip(knots, beyond, strict=True)]
        return TokenCurve(tuple(knots), tuple(times))


KERNELS_ALONE = EngineCosts()


@dataclass(frozen=True)
class DecodeGrid:
    """What decode adds: one row of ``ms`` per batch size, one column per KV length of a seq.

    Between two rows linear in the batch size at equal KV per seq, in a row linear in KV. Below the
    grid the first cell holds; beyond the last batch size the last row grows in proportion, beyond
    the last KV length the last line goes on.
    """

    batch: Sizes
    kv_per_job: Sizes
    ms: Rows

    def __post_init__(self) -> None:
        _require_rows("batch", self.batch, "kv_per_job", self.kv_per_job, self.ms)


@dataclass(frozen=True)
class PrefillGrid:
    """What the attention of one chunk adds: a row per chunk length, a column per prior context.

    Interpolated and continued as ``DecodeGrid`` is.
    """

    chunk: Sizes
    context: tuple[Annotated[int, Ge(0)], ...]
    ms: Rows

    def __post_init__(self) -> None:
        _require_rows("chunk", self.chunk, "context", self.context, self.ms)


@dataclass(frozen=True)
class ExpertBlocks:
    """What the expert blocks of all layers take: a row per number of tokens, a column per experts.

    The experts of a layer that some of the tokens pass are as many as under uniform routing
    (expected; inferred). Split over data-parallel ranks, each rank holds and computes its share of
    the experts for the tokens of all of them, which are taken to be equally many on each.
    """

    number: Annotated[int, Ge(1), Doc("of one layer")]
    per_token: Annotated[int, Ge(1), Doc("of these, how many a token passes")]
    tokens: Sizes
    activated: Sizes
    ms: Rows
    ranks: Annotated[int, Ge(1), Doc("data-parallel ranks that they are split over")] = 1

    def __post_init__(self) -> None:
        _require_rows("tokens", self.tokens, "activated", self.activated, self.ms)

    def activated_by(self, tokens: int) -> float:
        """Experts of a layer that a rank computes when each rank has so many tokens."""
        passed_by = 1.0 - (1.0 - self.per_token / self.number) ** (tokens * self.ranks)
        return self.number * passed_by / self.ranks

    def at(self, tokens: int) -> float:
        """Milliseconds on a rank, when each rank has so many tokens."""
        used = self.activated_by(tokens)
        column = tuple(float(np.interp(used, self.activated, row)) for row in self.ms)
        return TokenCurve(self.tokens, column).make().at(tokens)


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


def _require_rows(
    row_name: str, rows: Sequence[int], column_name: str, columns: Sequence[int], ms: Rows
) -> None:
    require_grid(row_name, rows)
    require_grid(column_name, columns)
    if len(rows) < 2 or len(columns) < 2:
        raise ValueError(f"a grid needs at least two values of {row_name} and of {column_name}")
    if len(ms) != len(rows) or any(len(row) != len(columns) for row in ms):
        raise ValueError(f"ms needs {len(rows)} rows ({row_name}) of {len(columns)} numbers each")
