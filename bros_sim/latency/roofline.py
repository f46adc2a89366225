"""Model ``roofline``: the larger of a memory-bound and a compute-bound line, plus attention."""

from typing import TYPE_CHECKING

from bros_sim.latency.terms import MS, Chunks, LineModel, chunk_sums

if TYPE_CHECKING:
    from bros_sim.latency.parameters import Roofline


class RooflineModel(LineModel):
    """What runs of `Roofline`."""

    def __init__(self, parameters: "Roofline") -> None:
        super().__init__(parameters.validity)
        self._parameters = parameters

    def _fitted_line(self, seqs: int) -> tuple[float, float]:
        return self._base_s(seqs, seqs), MS * self._parameters.decode_per_kv_token_ms

    def _chunks_s(self, chunks: Chunks, seqs: int, kv: int) -> float:
        model = self._parameters
        tokens, _, work2 = chunk_sums(chunks)
        attention = model.prefill_per_chunk_ms * len(chunks)
        attention += model.prefill_per_token2_ms / 2 * work2
        read = MS * model.decode_per_kv_token_ms * kv
        return self._base_s(seqs, seqs + tokens) + read + MS * attention

    def _base_s(self, seqs: int, tokens: int) -> float:
        """All but the terms of KV and of prefill attention, in seconds."""
        model = self._parameters
        time = max(
            model.memory.const_ms + model.memory.per_token_ms * tokens,
            model.compute.const_ms + model.compute.per_token_ms * tokens,
        )
        time += model.overhead.const_ms + model.overhead.per_seq_ms * seqs
        attention = model.decode_ms + model.decode_per_seq_ms * seqs if seqs else model.prefill_ms
        return MS * (time + attention)
