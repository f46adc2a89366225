"""Model ``hybrid``: piecewise linear in tokens, linear in summed KV at each decode batch size."""

from typing import TYPE_CHECKING

import numpy as np

from bros_sim.latency.terms import MS, Chunks, LineModel, chunk_sums

if TYPE_CHECKING:
    from bros_sim.latency.parameters import Hybrid


class HybridModel(LineModel):
    """What runs of `Hybrid`."""

    def __init__(self, parameters: "Hybrid") -> None:
        super().__init__(parameters.validity)
        attention = parameters.prefill_attention
        self._unit = unit = MS * parameters.whole_iteration_factor
        self._head = parameters.head
        self._overhead = parameters.overhead
        self._decode = parameters.decode_attention
        self._engine = engine = parameters.engine
        self._tokens = engine.sustained(parameters.tokens).make()
        self._chunk_step = unit * engine.chunk_step_ms
        per_sequence = self._head.per_seq_ms + engine.per_sequence_ms
        self._per_chunk = unit * (per_sequence + attention.per_chunk_ms)
        self._per_token = unit * attention.per_token_ms
        self._per_work2 = unit * (attention.per_token2_ms / 2)
        self._per_context = unit * attention.per_context_token_ms
        self._alone_ms = self._head.const_ms + self._overhead.const_ms + attention.const_ms

    def _fitted_line(self, seqs: int) -> tuple[float, float]:
        const = float(np.interp(seqs, self._decode.batch, self._decode.const_ms))
        per_kv = float(np.interp(seqs, self._decode.batch, self._decode.per_kv_token_ms))
        sequences = self._head.const_ms + self._overhead.const_ms
        per_sequence = self._head.per_seq_ms + self._overhead.per_seq_ms
        sequences += (per_sequence + self._engine.per_sequence_ms) * seqs
        return self._unit * (self._tokens.at(seqs) + sequences + const), self._unit * per_kv

    def _chunks_s(self, chunks: Chunks, seqs: int, kv: int) -> float:
        tokens, context, work2 = chunk_sums(chunks)
        time = self._chunk_step + self._per_chunk * len(chunks) + self._per_token * tokens
        time += self._per_work2 * work2 + self._per_context * context
        if not seqs:
            return time + self._unit * (self._tokens.at(tokens) + self._alone_ms)
        base, slope = self._line(seqs)
        added = self._tokens.at(tokens + seqs) - self._tokens.at(seqs)
        return base + slope * kv + time + self._unit * added
