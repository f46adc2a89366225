"""Model ``hybrid``: piecewise linear in tokens, linear in summed KV at each decode batch size."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
from annotated_doc import Doc
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from bros_sim.engine.latency_model import StepShape
from bros_sim.latency.terms import (
    EVERYWHERE,
    MS,
    FromProfile,
    NonNegative,
    PerSequence,
    TokenCurve,
    Validity,
    kv_line,
    require_grid,
    require_lengths,
)


@dataclass(frozen=True)
class DecodeAttention:
    """``const + per_kv_token * KV`` for each batch size; linear between, constant outside."""

    batch: tuple[Annotated[int, Ge(1)], ...]
    const_ms: tuple[NonNegative, ...]
    per_kv_token_ms: tuple[NonNegative, ...]

    def __post_init__(self) -> None:
        require_grid("batch", self.batch)
        require_lengths(
            batch=self.batch, const_ms=self.const_ms, per_kv_token_ms=self.per_kv_token_ms
        )


@dataclass(frozen=True)
class PrefillAttention:
    """Attention of prefill chunks of ``c`` tokens after ``x`` cached ones of the same prompt."""

    const_ms: Annotated[NonNegative, Doc("only in iterations without decode")] = 0.0
    per_chunk_ms: NonNegative = 0.0
    per_token_ms: NonNegative = 0.0
    per_token2_ms: Annotated[NonNegative, Doc("per c * (x + c / 2)")] = 0.0
    per_context_token_ms: NonNegative = 0.0


@dataclass(frozen=True)
class Hybrid(FromProfile):
    """Kernel-calibrated whole-iteration model; docs/latency.md explains each term.

    ``factor * (tokens(n) + head(B + C) + overhead(B) + [B > 0] decode(B, KV) + prefill(chunks))``
    for ``n`` tokens in all, ``B`` decode requests, ``C`` chunks. The constant of the prefill
    attention counts only where nothing decodes: one kernel serves a mixed batch.
    """

    kind: ClassVar[str] = "hybrid"

    tokens: Annotated[TokenCurve, Doc("linear layers and all-reduce against tokens")]
    decode_attention: DecodeAttention
    prefill_attention: PrefillAttention
    head: Annotated[PerSequence, Doc("LM head and sampler, per sequence that is scheduled")]
    overhead: Annotated[PerSequence, Doc("engine time outside the kernels, per decode request")]
    whole_iteration_factor: Annotated[float, Gt(0), Doc("multiplies the iteration time")] = 1.0
    validity: Validity = EVERYWHERE
    _decode: dict[int, tuple[float, float]] = field(init=False, repr=False, compare=False)
    _prefill: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        unit = MS * self.whole_iteration_factor
        attention = self.prefill_attention
        terms = (
            self.head.per_seq_ms + attention.per_chunk_ms,
            attention.per_token_ms,
            attention.per_token2_ms / 2,
            attention.per_context_token_ms,
        )
        object.__setattr__(self, "_decode", {})
        object.__setattr__(self, "_prefill", tuple(unit * term for term in terms))

    def step_s(self, shape: StepShape) -> float:
        chunks, seqs, kv, _ = shape
        if not chunks:
            base, slope = self._decode.get(seqs) or self._decode_terms(seqs)
            return base + slope * kv
        return self._chunks_s(chunks, seqs, kv)

    def decode_s(self, decode_jobs: int, kv_tokens: int, repeat: int) -> NDArray[np.float64]:
        base, slope = self._decode.get(decode_jobs) or self._decode_terms(decode_jobs)
        return kv_line(base, slope, decode_jobs, kv_tokens, repeat)

    def _decode_terms(self, seqs: int) -> tuple[float, float]:
        """Intercept and slope over summed KV, in seconds; remembered, there are few batch sizes."""
        unit = MS * self.whole_iteration_factor
        const, per_kv = self._attention(seqs)
        sequences = self.head.const_ms + self.overhead.const_ms
        sequences += (self.head.per_seq_ms + self.overhead.per_seq_ms) * seqs
        terms = unit * (self.tokens.at(seqs) + sequences + const), unit * per_kv
        self._decode[seqs] = terms
        return terms

    def _attention(self, seqs: int) -> tuple[float, float]:
        grid = self.decode_attention
        const = float(np.interp(seqs, grid.batch, grid.const_ms))
        return const, float(np.interp(seqs, grid.batch, grid.per_kv_token_ms))

    def _chunks_s(self, chunks: tuple[tuple[int, int], ...], seqs: int, kv: int) -> float:
        tokens = context = work2 = 0
        for chunk, cached in chunks:
            tokens += chunk
            context += cached
            work2 += chunk * (2 * cached + chunk)
        unit = MS * self.whole_iteration_factor
        per_chunk, per_token, per_work2, per_context = self._prefill
        time = per_chunk * len(chunks) + per_token * tokens
        time += per_work2 * work2 + per_context * context
        if not seqs:
            alone = self.head.const_ms + self.overhead.const_ms + self.prefill_attention.const_ms
            return time + unit * (self.tokens.at(tokens) + alone)
        base, slope = self._decode.get(seqs) or self._decode_terms(seqs)
        added = self.tokens.at(tokens + seqs) - self.tokens.at(seqs)
        return base + slope * kv + time + unit * added
