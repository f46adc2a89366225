"""Model ``linear``: straight lines in tokens, batch size and KV; prefill may be quadratic."""

from typing import TYPE_CHECKING

from bros_sim.latency.terms import MS, Chunks, LineModel

if TYPE_CHECKING:
    from bros_sim.latency.parameters import Linear


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
