"""Model ``linear``: straight lines in tokens, batch size and KV; prefill may be quadratic."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_doc import Doc
from annotated_types import Ge
from numpy.typing import NDArray

from bros_sim.engine.latency_model import StepShape
from bros_sim.latency.terms import EVERYWHERE, MS, FromProfile, NonNegative, Validity, kv_line


@dataclass(frozen=True)
class DecodeLine:
    """A decode iteration: ``const + per_seq * B + per_kv_token * KV``."""

    const_ms: NonNegative = 0.0
    per_seq_ms: NonNegative = 0.0
    per_kv_token_ms: NonNegative = 0.0


@dataclass(frozen=True)
class Linear(FromProfile):
    """The form of published end-to-end fits, and constant cost for queueing theory.

    Prefill: ``prefill_ms + per_token * sum(p) + per_token2 * sum(p**2)`` over prompts of ``p``
    tokens; a chunk of ``c`` after ``x`` cached tokens adds ``(x + c)**2 - x**2``, so the chunks of
    a prompt add up to it. Decode: one line, or a second one from ``large_batch_from`` requests on.
    A mixed iteration (in no published fit) reads the weights once: it costs the larger of the
    prefill constant and the decode line, plus what the prompt tokens add.
    ``Linear(prefill_ms=100.0)`` costs 100 ms whatever the prompts.
    """

    kind: ClassVar[str] = "linear"

    prefill_ms: NonNegative = 0.0
    prefill_per_token_ms: NonNegative = 0.0
    prefill_per_token2_ms: Annotated[float, Doc("may be negative, up to prefill_quadratic_to")] = (
        0.0
    )
    prefill_quadratic_to: Annotated[
        Annotated[int, Ge(1)] | None,
        Doc("prompt position beyond which the quadratic term adds nothing"),
    ] = None
    decode: DecodeLine = DecodeLine()
    large_batch: Annotated[DecodeLine | None, Doc("decode line of large batches")] = None
    large_batch_from: Annotated[int, Ge(1)] | None = None
    validity: Validity = EVERYWHERE

    def __post_init__(self) -> None:
        if (self.large_batch is None) != (self.large_batch_from is None):
            raise ValueError("large_batch and large_batch_from go together")
        edge = self.prefill_quadratic_to
        if self.prefill_per_token2_ms < 0 and (
            edge is None or self.prefill_per_token_ms + 2 * self.prefill_per_token2_ms * edge < 0
        ):
            raise ValueError(
                "a negative prefill_per_token2_ms needs prefill_quadratic_to, "
                "small enough that a longer prompt never costs less"
            )

    def step_s(self, shape: StepShape) -> float:
        chunks, seqs, kv, _ = shape
        base, slope = self._decode_terms(seqs)
        if not chunks:
            return base + slope * kv
        floor = base + slope * kv if seqs else 0.0
        return max(floor, MS * self.prefill_ms) + MS * self._prompt_ms(chunks)

    def decode_s(self, decode_jobs: int, kv_tokens: int, repeat: int) -> NDArray[np.float64]:
        base, slope = self._decode_terms(decode_jobs)
        return kv_line(base, slope, decode_jobs, kv_tokens, repeat)

    def _decode_terms(self, seqs: int) -> tuple[float, float]:
        line = self.decode
        if self.large_batch_from is not None and seqs >= self.large_batch_from:
            line = self.large_batch or line
        return MS * (line.const_ms + line.per_seq_ms * seqs), MS * line.per_kv_token_ms

    def _prompt_ms(self, chunks: tuple[tuple[int, int], ...]) -> float:
        tokens = squares = 0
        edge = self.prefill_quadratic_to
        for chunk, cached in chunks:
            tokens += chunk
            start, end = cached, cached + chunk
            if edge is not None:
                start, end = min(start, edge), min(end, edge)
            squares += end * end - start * start
        return self.prefill_per_token_ms * tokens + self.prefill_per_token2_ms * squares
