"""Models ``linear``, ``roofline`` and ``hybrid``: a line in summed KV for each decode batch."""

from typing import TYPE_CHECKING

import numpy as np

from bros_sim.latency.terms import MS, Chunks, LineModel, chunk_sums

if TYPE_CHECKING:
    from bros_sim.latency.parameters import Hybrid, Linear, Roofline


class LinearModel(LineModel):
    """What runs of `Linear`."""

    def __init__(self, parameters: "Linear") -> None:
        super().__init__(parameters.validity)
        self._parameters = parameters
        self._quadratic_to = parameters.prefill_quadratic_to

    def _fitted_line(self, seqs: int) -> tuple[float, float]:
        line, from_seqs = self._parameters.decode, self._parameters.large_batch_from
        if from_seqs is not None and seqs >= from_seqs:
            line = self._parameters.large_batch or line
        return MS * (line.const_ms + line.per_seq_ms * seqs), MS * line.per_kv_token_ms

    def _chunks_s(self, chunks: Chunks, seqs: int, kv: int) -> float:
        base, slope = self._line(seqs)
        floor = base + slope * kv if seqs else 0.0
        return max(floor, MS * self._parameters.prefill_ms) + MS * self._prompt_ms(chunks)

    def _prompt_ms(self, chunks: Chunks) -> float:
        tokens = squares = 0
        for chunk, cached in chunks:
            tokens += chunk
            start, end = cached, cached + chunk
            if self._quadratic_to is not None:
                start, end = min(start, self._quadratic_to), min(end, self._quadratic_to)
            squares += end * end - start * start
        linear_ms = self._parameters.prefill_per_token_ms * tokens
        return linear_ms + self._parameters.prefill_per_token2_ms * squares


class RooflineModel(LineModel):
    """What runs of `Roofline`."""

    def __init__(self, parameters: "Roofline") -> None:
        super().__init__(parameters.validity)
        self._parameters = parameters

    def _fitted_line(self, seqs: int) -> tuple[float, float]:
        return self._base_s(seqs, seqs), MS * self._parameters.decode_per_kv_token_ms

    def _chunks_s(self, chunks: Chunks, seqs: int, kv: int) -> float:
        model, engine = self._parameters, self._parameters.engine
        tokens, _, work2 = chunk_sums(chunks)
        attention = (model.prefill_per_chunk_ms + engine.per_sequence_ms) * len(chunks)
        attention += model.prefill_per_token2_ms / 2 * work2 + engine.chunk_step_ms
        read = MS * model.decode_per_kv_token_ms * kv
        return self._base_s(seqs, seqs + tokens) + read + MS * attention

    def _base_s(self, seqs: int, tokens: int) -> float:
        """All but the terms of KV and of prefill attention, in seconds."""
        model, engine = self._parameters, self._parameters.engine
        read = model.memory.const_ms + model.memory.per_token_ms * tokens
        if model.experts is not None:
            read += model.experts.read_ms * (1.0 - (1.0 - model.experts.share) ** tokens)
        compute = model.compute.const_ms + model.compute.per_token_ms * tokens
        time = max(read, engine.sustained_compute * compute)
        per_seq = model.overhead.per_seq_ms + engine.per_sequence_ms
        time += model.overhead.const_ms + per_seq * seqs
        attention = model.decode_ms + model.decode_per_seq_ms * seqs if seqs else model.prefill_ms
        return MS * (time + attention)


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
