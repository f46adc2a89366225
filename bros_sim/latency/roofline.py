"""Model ``roofline``: the larger of a memory-bound and a compute-bound line, plus attention."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_doc import Doc
from numpy.typing import NDArray

from bros_sim.engine.latency_model import StepShape
from bros_sim.latency.terms import (
    EVERYWHERE,
    MS,
    FromProfile,
    NonNegative,
    PerSequence,
    Validity,
    kv_line,
)


@dataclass(frozen=True)
class Line:
    """``const_ms + per_token_ms * tokens``."""

    const_ms: NonNegative
    per_token_ms: NonNegative


@dataclass(frozen=True)
class Roofline(FromProfile):
    """The plain fallback: few numbers, each with a physical meaning.

    ``max(memory(n), compute(n)) + overhead(B) + [B > 0] (decode + per_seq * B + per_kv * KV)
    + per_chunk * C + per_token2 * sum(c * (x + c / 2))``, and ``prefill`` where nothing decodes.
    """

    kind: ClassVar[str] = "roofline"

    memory: Annotated[Line, Doc("weights have to be read, however few the tokens")]
    compute: Annotated[Line, Doc("the matrix units are busy")]
    decode_ms: NonNegative
    decode_per_seq_ms: NonNegative
    decode_per_kv_token_ms: NonNegative
    prefill_ms: Annotated[NonNegative, Doc("only in iterations without decode")]
    prefill_per_chunk_ms: NonNegative
    prefill_per_token2_ms: Annotated[NonNegative, Doc("per c * (x + c / 2)")]
    overhead: Annotated[PerSequence, Doc("engine time outside the kernels, per decode request")]
    validity: Validity = EVERYWHERE

    def step_s(self, shape: StepShape) -> float:
        chunks, seqs, kv, _ = shape
        if not chunks:
            return self._base_s(seqs, seqs) + MS * self.decode_per_kv_token_ms * kv
        tokens = seqs
        work2 = 0
        for chunk, cached in chunks:
            tokens += chunk
            work2 += chunk * (2 * cached + chunk)
        attention = MS * (
            self.prefill_per_chunk_ms * len(chunks) + self.prefill_per_token2_ms / 2 * work2
        )
        return self._base_s(seqs, tokens) + MS * self.decode_per_kv_token_ms * kv + attention

    def decode_s(self, decode_jobs: int, kv_tokens: int, repeat: int) -> NDArray[np.float64]:
        base = self._base_s(decode_jobs, decode_jobs)
        slope = MS * self.decode_per_kv_token_ms
        return kv_line(base, slope, decode_jobs, kv_tokens, repeat)

    def _base_s(self, seqs: int, tokens: int) -> float:
        """All but the terms of KV and of prefill attention, in seconds."""
        time = max(
            self.memory.const_ms + self.memory.per_token_ms * tokens,
            self.compute.const_ms + self.compute.per_token_ms * tokens,
        )
        time += self.overhead.const_ms + self.overhead.per_seq_ms * seqs
        attention = self.decode_ms + self.decode_per_seq_ms * seqs if seqs else self.prefill_ms
        return MS * (time + attention)
