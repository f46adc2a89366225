"""Model ``table``: measured grids, interpolated; nothing is fitted."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
from annotated_doc import Doc
from numpy.typing import NDArray

from bros_sim.engine.latency_model import StepShape
from bros_sim.latency.grids import DecodeGrid, DecodeLines, PrefillGrid
from bros_sim.latency.terms import (
    EVERYWHERE,
    FREE,
    MS,
    FromProfile,
    PerSequence,
    TokenCurve,
    Validity,
    kv_series,
)


@dataclass(frozen=True)
class Table(FromProfile):
    """Sum of measured parts, which is also how layer-wise profilers cut an iteration.

    ``tokens(n) + sequences(B + C) + overhead(B) + [B > 0] decode(B, KV) + sum(prefill(c, x))``.
    A grid of whole iterations fits in: put its shortest decode and its prefill without context
    into ``tokens``, and the differences to them into ``decode`` and ``prefill``.
    """

    kind: ClassVar[str] = "table"

    tokens: Annotated[TokenCurve, Doc("dense layers against tokens")]
    decode: DecodeGrid
    prefill: PrefillGrid
    sequences: Annotated[PerSequence, Doc("LM head and sampler, per scheduled sequence")] = FREE
    overhead: Annotated[PerSequence, Doc("engine time outside the kernels, per decode request")] = (
        FREE
    )
    validity: Validity = EVERYWHERE
    _decode: dict[int, DecodeLines] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_decode", {})

    def step_s(self, shape: StepShape) -> float:
        chunks, seqs, kv, _ = shape
        if not chunks:
            return (self._decode.get(seqs) or self._decode_lines(seqs)).at(kv)
        added = sum(self.prefill.at(chunk, context) for chunk, context in chunks)
        tokens = sum(chunk for chunk, _ in chunks)
        if not seqs:
            constant = self._constant_ms(len(chunks), 0)
            return MS * (self.tokens.at(tokens) + constant + added)
        added += self.tokens.at(tokens + seqs) - self.tokens.at(seqs)
        added += self.sequences.per_seq_ms * len(chunks)
        return self.step_s(StepShape((), seqs, kv)) + MS * added

    def decode_s(self, decode_jobs: int, kv_tokens: int, repeat: int) -> NDArray[np.float64]:
        lines = self._decode.get(decode_jobs) or self._decode_lines(decode_jobs)
        return lines.series(kv_series(decode_jobs, kv_tokens, repeat))

    def _constant_ms(self, sequences: int, seqs: int) -> float:
        time = self.sequences.const_ms + self.sequences.per_seq_ms * sequences
        return time + self.overhead.const_ms + self.overhead.per_seq_ms * seqs

    def _decode_lines(self, seqs: int) -> DecodeLines:
        constant = self.tokens.at(seqs) + self._constant_ms(seqs, seqs)
        lines = self._decode[seqs] = self.decode.lines(seqs, constant)
        return lines
