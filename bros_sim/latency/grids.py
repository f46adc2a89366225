"""Models ``table`` and ``layers``: sums of measured grids, interpolated."""

import math
from bisect import bisect_left
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bros_sim.engine.latency_model import StepShape
from bros_sim.latency.terms import MS, FittedModel, Lines, chunk_ms, decode_lines, kv_series

if TYPE_CHECKING:
    from bros_sim.latency.parameters import Layers, Table


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


class LayersModel(FittedModel):
    """What runs of `Layers`."""

    reads_longest_kv = True

    def __init__(self, parameters: "Layers") -> None:
        super().__init__(parameters.validity)
        self._parameters = parameters
        self._tail = parameters.tail
        self._mixing = parameters.mixing
        self._graph_sizes = parameters.graph_sizes
        self._engine = parameters.engine
        self._tokens = self._engine.sustained(parameters.tokens).make()
        self._sequences = parameters.sequences.make()
        self._all_reduce = parameters.all_reduce.make() if parameters.all_reduce else None
        self._experts_ms = cache(parameters.experts.at) if parameters.experts else None
        self._lone_s = MS * parameters.tail.lone_ms_per_token
        self._decode: dict[int, tuple[float, float, Lines]] = {}
        self._mixed: dict[int, Lines] = {}

    def step_s(self, shape: StepShape) -> float:
        if shape.chunks:
            return MS * self._mixed_ms(shape)
        constant, share, lines = self._terms(shape.decode_jobs)
        attention = lines.at(shape.kv_tokens)
        late = self._lone_s * shape.longest_kv - share * attention
        return constant + attention + max(0.0, late)

    def decode_s(self, shape: StepShape, repeat: int) -> NDArray[np.float64]:
        constant, share, lines = self._terms(shape.decode_jobs)
        attention = lines.series(kv_series(shape.decode_jobs, shape.kv_tokens, repeat))
        times = constant + attention
        if not shape.longest_kv:
            return times  # a batch whose longest sequence is not known has no tail
        # The same products and sums as in step_s, element by element.
        late = self._lone_s * kv_series(1, shape.longest_kv, repeat) - share * attention
        return times + np.maximum(0.0, late)

    def attention_ms(self, shape: StepShape) -> float:
        """Attention of all layers: chunks and decodes in one kernel, or decodes alone."""
        chunks, seqs, kv, longest = shape
        if not chunks:
            return self._terms(seqs)[2].at(kv) / MS
        tokens = sum(chunk for chunk, _ in chunks)
        alone = sum(chunk_ms(self._parameters.prefill, *chunk) for chunk in chunks)
        alone -= self._mixing.launch_ms * (len(chunks) - 1)
        return alone + (self._beside_ms(seqs, kv, longest, tokens, alone) if seqs else 0.0)

    def _terms(self, seqs: int) -> tuple[float, float, Lines]:
        """Constant, share of the tail, and attention of a decode-only batch."""
        found = self._decode.get(seqs)
        if found is None:
            share = float(np.interp(seqs, self._tail.batch, self._tail.share))
            if self._padded(seqs) < self._tail.unsplit_from:
                share = math.inf  # sequences are split over thread blocks: none is ever late
            constant = MS * (self._dense_ms(seqs) + self._engine_ms(seqs, seqs))
            found = constant, share, decode_lines(self._parameters.decode, seqs)
            self._decode[seqs] = found
        return found

    def _mixed_ms(self, shape: StepShape) -> float:
        seqs = shape.decode_jobs
        tokens = seqs + sum(chunk for chunk, _ in shape.chunks)
        engine = self._engine_ms(seqs + len(shape.chunks), seqs)
        engine += self._engine.chunk_step_ms
        return self._dense_ms(tokens) + engine + self.attention_ms(shape)

    def _beside_ms(self, seqs: int, kv: int, longest: int, tokens: int, chunks_ms: float) -> float:
        """What decodes add to the attention of chunks of ``tokens`` that takes ``chunks_ms``."""
        lines = self._mixed.get(seqs)
        if lines is None:
            lines = self._mixed[seqs] = decode_lines(self._parameters.mixed, seqs)
        own = max(lines.at(kv), self._terms(seqs)[2].at(kv)) / MS
        share = float(np.interp(seqs, self._tail.batch, self._tail.mixed_share))
        own += max(0.0, self._tail.lone_ms_per_token * longest - share * own)
        hidden = min(1.0, self._mixing.hidden_up_to / seqs)
        overlap = hidden * max(0.0, min(own, chunks_ms) - self._mixing.launch_ms)
        added = own - self._mixing.launch_ms - overlap + self._mixing.per_pair_ms * seqs * tokens
        return max(0.0, added)

    def _dense_ms(self, tokens: int) -> float:
        padded, eager, eager_ms = self._padded(tokens), self._parameters.eager, 0.0
        if not self._graph_sizes or padded > self._graph_sizes[-1]:
            eager_ms = eager.const_ms + eager.per_seq_ms * tokens
        reduce_ms = self._all_reduce.at(padded) if self._all_reduce else 0.0
        reduce_ms *= self._engine.all_reduce
        experts_ms = self._experts_ms(padded) if self._experts_ms else 0.0
        return self._tokens.at(padded) + experts_ms + reduce_ms + eager_ms

    def _engine_ms(self, sequences: int, seqs: int) -> float:
        overhead = self._parameters.overhead
        host_ms = self._engine.per_sequence_ms * sequences
        outside_ms = overhead.const_ms + overhead.per_seq_ms * seqs
        return self._sequences.at(sequences) + outside_ms + host_ms

    def _padded(self, tokens: int) -> int:
        """Tokens of the CUDA graph that an iteration of ``tokens`` runs in."""
        at = bisect_left(self._graph_sizes, tokens)
        if at < len(self._graph_sizes):
            return self._graph_sizes[at]
        return -(-tokens // self._parameters.tile_tokens) * self._parameters.tile_tokens
