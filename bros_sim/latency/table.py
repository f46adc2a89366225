"""Model ``table``: measured grids, interpolated; nothing is fitted."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bros_sim.engine.latency_model import StepShape
from bros_sim.latency.terms import MS, FittedModel, Lines, chunk_ms, decode_lines, kv_series

if TYPE_CHECKING:
    from bros_sim.latency.parameters import Table


class TableModel(FittedModel):
    """What runs of `Table`."""

    def __init__(self, parameters: "Table") -> None:
        super().__init__(parameters.validity)
        self._parameters = parameters
        self._tokens = parameters.tokens.make()
        self._decode: dict[int, Lines] = {}

    def step_s(self, shape: StepShape) -> float:
        chunks, seqs, kv, _ = shape
        if not chunks:
            return self._decode_lines(seqs).at(kv)
        added = sum(chunk_ms(self._parameters.prefill, *chunk) for chunk in chunks)
        tokens = sum(chunk for chunk, _ in chunks)
        if not seqs:
            constant = self._constant_ms(len(chunks), 0)
            return MS * (self._tokens.at(tokens) + constant + added)
        added += self._tokens.at(tokens + seqs) - self._tokens.at(seqs)
        added += self._parameters.sequences.per_seq_ms * len(chunks)
        return self._decode_lines(seqs).at(kv) + MS * added

    def decode_s(self, shape: StepShape, repeat: int) -> NDArray[np.float64]:
        kv = kv_series(shape.decode_jobs, shape.kv_tokens, repeat)
        return self._decode_lines(shape.decode_jobs).series(kv)

    def _constant_ms(self, sequences: int, seqs: int) -> float:
        per_sequence, overhead = self._parameters.sequences, self._parameters.overhead
        time = per_sequence.const_ms + per_sequence.per_seq_ms * sequences
        return time + overhead.const_ms + overhead.per_seq_ms * seqs

    def _decode_lines(self, seqs: int) -> Lines:
        found = self._decode.get(seqs)
        if found is None:
            constant = self._tokens.at(seqs) + self._constant_ms(seqs, seqs)
            found = self._decode[seqs] = decode_lines(self._parameters.decode, seqs, constant)
        return found
