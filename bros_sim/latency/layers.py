"""Model ``layers``: the sum of measured layers, aware of unequal sequence lengths."""

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, ClassVar

import numpy as np
from annotated_doc import Doc
from annotated_types import Ge, Le
from numpy.typing import NDArray

from bros_sim.engine.latency_model import StepShape
from bros_sim.latency.grids import DecodeGrid, DecodeLines, PrefillGrid
from bros_sim.latency.terms import (
    EVERYWHERE,
    FREE,
    MS,
    FromProfile,
    NonNegative,
    PerSequence,
    TokenCurve,
    Validity,
    kv_series,
    require_grid,
    require_lengths,
)

Share = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True)
class Tail:
    """What the longest sequence of a decode batch adds to the attention of equal lengths.

    One sequence and KV head is one thread block unless the kernel splits sequences. The longest
    one takes ``lone_ms_per_token`` for each of its tokens even if it runs alone, and when its last
    block starts, ``share`` of the attention's time is still to come: the kernel takes
    ``max(0, lone * longest - share * attention)`` longer.
    """

    lone_ms_per_token: Annotated[NonNegative, Doc("one sequence on its thread blocks, all layers")]
    batch: tuple[Annotated[int, Ge(1)], ...]
    share: Annotated[tuple[Share, ...], Doc("in decode-only iterations, per batch size")]
    mixed_share: Annotated[tuple[Share, ...], Doc("in iterations with prefill, per batch size")]
    unsplit_from: Annotated[
        int, Ge(1), Doc("smallest decode-only batch whose sequences the kernel does not split")
    ]

    def __post_init__(self) -> None:
        require_grid("batch", self.batch)
        require_lengths(batch=self.batch, share=self.share, mixed_share=self.mixed_share)


@dataclass(frozen=True)
class Mixing:
    """How prefill chunks and decodes of one iteration share the attention kernel."""

    launch_ms: Annotated[NonNegative, Doc("start of the kernels of all layers, in each part")]
    per_pair_ms: Annotated[
        NonNegative, Doc("per decode request and chunk token: empty thread blocks")
    ]
    hidden_up_to: Annotated[
        float,
        Ge(0),
        Doc("decode requests that run beside the chunks at no cost; for B requests n / B"),
    ]


@dataclass(frozen=True)
class Layers(FromProfile):
    """Layer-calibrated whole-iteration model; docs/latency.md explains each term.

    ``tokens(padded n) + all_reduce(padded n) + sequences(B + C) + overhead(B) + attention``,
    and ``eager`` where no CUDA graph holds the iteration. ``graph_sizes`` are the graphs that the
    engine captured: an iteration runs in the smallest that holds its tokens. Beyond the last one
    its matrix products still work on tiles of ``tile_tokens``.
    """

    kind: ClassVar[str] = "layers"

    tokens: Annotated[TokenCurve, Doc("all layers but attention, against tokens")]
    sequences: Annotated[TokenCurve, Doc("LM head and sampler, against scheduled sequences")]
    decode: Annotated[DecodeGrid, Doc("attention of decode-only iterations, equal lengths")]
    mixed: Annotated[DecodeGrid, Doc("attention of decodes beside a chunk of no weight")]
    prefill: Annotated[PrefillGrid, Doc("attention of a chunk alone")]
    tail: Tail
    mixing: Mixing
    graph_sizes: tuple[Annotated[int, Ge(1)], ...] = ()
    tile_tokens: Annotated[int, Ge(1), Doc("tokens are rounded up to whole tiles")] = 1
    eager: Annotated[PerSequence, Doc("beyond the last CUDA graph, per token")] = FREE
    all_reduce: Annotated[TokenCurve | None, Doc("tensor parallelism, against tokens")] = None
    overhead: Annotated[
        PerSequence, Doc("GPU time between kernels and iterations, per decode request")
    ] = FREE
    validity: Validity = EVERYWHERE
    _decode: dict[int, tuple[float, float, DecodeLines]] = field(
        init=False, repr=False, compare=False
    )
    _mixed: dict[int, DecodeLines] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if any(low >= high for low, high in pairwise(self.graph_sizes)):
            raise ValueError("graph_sizes must increase strictly")
        object.__setattr__(self, "_decode", {})
        object.__setattr__(self, "_mixed", {})

    def step_s(self, shape: StepShape) -> float:
        if shape.chunks:
            return MS * self._mixed_ms(shape)
        constant, share, lines = self._terms(shape.decode_jobs)
        attention = lines.at(shape.kv_tokens)
        late = self._lone_s * shape.longest_kv - share * attention
        return constant + attention + max(0.0, late)

    def decode_s(self, decode_jobs: int, kv_tokens: int, repeat: int) -> NDArray[np.float64]:
        """As the contract says: a batch whose longest sequence is not known has no tail."""
        return self.skewed_decode_s(StepShape((), decode_jobs, kv_tokens), repeat)

    def skewed_decode_s(self, shape: StepShape, repeat: int) -> NDArray[np.float64]:
        """Durations of ``repeat`` consecutive decode-only iterations from ``shape`` on."""
        constant, share, lines = self._terms(shape.decode_jobs)
        attention = lines.series(kv_series(shape.decode_jobs, shape.kv_tokens, repeat))
        times = constant + attention
        if not shape.longest_kv:
            return times
        # The same products and sums as in step_s, element by element.
        late = self._lone_s * kv_series(1, shape.longest_kv, repeat) - share * attention
        return times + np.maximum(0.0, late)

    @property
    def _lone_s(self) -> float:
        return MS * self.tail.lone_ms_per_token

    def _terms(self, seqs: int) -> tuple[float, float, DecodeLines]:
        """Constant, share of the tail (1.0: none), and attention of a decode-only batch."""
        found = self._decode.get(seqs)
        if found is None:
            split = self._padded(seqs) < self.tail.unsplit_from
            share = _SPLIT if split else float(np.interp(seqs, self.tail.batch, self.tail.share))
            constant = MS * (self._dense_ms(seqs) + self._engine_ms(seqs, seqs))
            found = constant, share, self.decode.lines(seqs)
            self._decode[seqs] = found
        return found

    def attention_ms(self, shape: StepShape) -> float:
        """Attention of all layers: chunks and decodes in one kernel, or decodes alone."""
        chunks, seqs, kv, longest = shape
        if not chunks:
            return self.decode.lines(seqs).at(kv) / MS
        tokens = sum(chunk for chunk, _ in chunks)
        alone = sum(self.prefill.at(chunk, context) for chunk, context in chunks)
        alone -= self.mixing.launch_ms * (len(chunks) - 1)
        return alone + (self._beside_ms(seqs, kv, longest, tokens, alone) if seqs else 0.0)

    def _mixed_ms(self, shape: StepShape) -> float:
        seqs = shape.decode_jobs
        tokens = seqs + sum(chunk for chunk, _ in shape.chunks)
        engine = self._engine_ms(seqs + len(shape.chunks), seqs)
        return self._dense_ms(tokens) + engine + self.attention_ms(shape)

    def _beside_ms(self, seqs: int, kv: int, longest: int, tokens: int, chunks_ms: float) -> float:
        """What decodes add to the attention of chunks of ``tokens`` that takes ``chunks_ms``."""
        lines = self._mixed.get(seqs)
        if lines is None:
            lines = self._mixed[seqs] = self.mixed.lines(seqs)
        own = max(lines.at(kv), self._terms(seqs)[2].at(kv)) / MS
        share = float(np.interp(seqs, self.tail.batch, self.tail.mixed_share))
        own += max(0.0, self.tail.lone_ms_per_token * longest - share * own)
        hidden = min(1.0, self.mixing.hidden_up_to / seqs)
        overlap = hidden * max(0.0, min(own, chunks_ms) - self.mixing.launch_ms)
        added = own - self.mixing.launch_ms - overlap + self.mixing.per_pair_ms * seqs * tokens
        return max(0.0, added)

    def _dense_ms(self, tokens: int) -> float:
        padded = self._padded(tokens)
        if not self.graph_sizes or padded > self.graph_sizes[-1]:
            eager_ms = self.eager.const_ms + self.eager.per_seq_ms * tokens
        else:
            eager_ms = 0.0
        reduce_ms = self.all_reduce.at(padded) if self.all_reduce else 0.0
        return self.tokens.at(padded) + reduce_ms + eager_ms

    def _engine_ms(self, sequences: int, seqs: int) -> float:
        overhead = self.overhead.const_ms + self.overhead.per_seq_ms * seqs
        return self.sequences.at(sequences) + overhead

    def _padded(self, tokens: int) -> int:
        """Tokens of the CUDA graph that an iteration of ``tokens`` runs in."""
        at = bisect_left(self.graph_sizes, tokens)
        if at < len(self.graph_sizes):
            return self.graph_sizes[at]
        return -(-tokens // self.tile_tokens) * self.tile_tokens


_SPLIT = float("inf")
"""Sequences are split over thread blocks: none of them is ever late."""
