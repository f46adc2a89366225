"""What a profile holds of each latency model, or YAML sets: its coefficients."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from annotated_doc import Doc
from annotated_types import Ge, Gt, Le

from bros_sim.latency.grids import LayersModel, TableModel
from bros_sim.latency.lines import HybridModel, LinearModel, RooflineModel
from bros_sim.latency.term_parameters import (
    EVERYWHERE,
    FREE,
    KERNELS_ALONE,
    Bound,
    DecodeGrid,
    EngineCosts,
    LatencyParameters,
    NonNegative,
    PerSequence,
    PrefillGrid,
    Sizes,
    TokenCurve,
    Validity,
    require_grid,
    require_lengths,
)

Share = Annotated[float, Ge(0), Le(1)]
WholeRuns = Annotated[EngineCosts, Doc("what whole runs show beyond the kernels")]
Overhead = Annotated[PerSequence, Doc("engine time outside the kernels, per decode request")]


@dataclass(frozen=True)
class DecodeLine:
    """A decode iteration: ``const + per_seq * B + per_kv_token * KV``."""

    const_ms: NonNegative = 0.0
    per_seq_ms: NonNegative = 0.0
    per_kv_token_ms: NonNegative = 0.0


@dataclass(frozen=True)
class Linear(LatencyParameters):
    """The form of published end-to-end fits, and constant cost for queueing theory.

    Prefill: ``prefill_ms + per_token * sum(p) + per_token2 * sum(p**2)`` over prompts of ``p``
    tokens; a chunk of ``c`` after ``x`` cached tokens adds ``(x + c)**2 - x**2``, so the chunks of
    a prompt add up to it. Decode: one line, or a second one from ``large_batch_from`` requests on.
    A mixed iteration (in no published fit) reads the weights once: it costs the larger of the
    prefill constant and the decode line, plus what the prompt tokens add.
    ``Linear(prefill_ms=100.0)`` costs 100 ms whatever the prompts.
    """

    prefill_ms: NonNegative = 0.0
    prefill_per_token_ms: NonNegative = 0.0
    prefill_per_token2_ms: Annotated[float, Doc("may be negative, up to prefill_quadratic_to")] = (
        0.0
    )
    prefill_quadratic_to: Annotated[
        Bound, Doc("prompt position beyond which the quadratic term adds nothing")
    ] = None
    decode: DecodeLine = DecodeLine()
    large_batch: Annotated[DecodeLine | None, Doc("decode line of large batches")] = None
    large_batch_from: Bound = None
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

    def make(self) -> LinearModel:
        return LinearModel(self)


@dataclass(frozen=True)
class Line:
    """``const_ms + per_token_ms * tokens``."""

    const_ms: NonNegative
    per_token_ms: NonNegative


@dataclass(frozen=True)
class ExpertReads:
    """Weights of experts: ``n`` tokens read ``read_ms * (1 - (1 - share) ** n)`` on average.

    So many of a layer's experts do they pass if each token draws its own uniformly (inferred).
    """

    read_ms: Annotated[NonNegative, Doc("to read all experts of all layers")]
    share: Annotated[Share, Doc("of a layer's experts that one token passes")]


@dataclass(frozen=True)
class Roofline(LatencyParameters):
    """The plain fallback: few numbers, each with a physical meaning.

    ``memory(n)`` has the ``experts`` of a mixture in it.

    ``max(memory(n), compute(n)) + overhead(B) + [B > 0] (decode + per_seq * B + per_kv * KV)
    + per_chunk * C + per_token2 * sum(c * (x + c / 2))``, and ``prefill`` where nothing decodes.
    """

    memory: Annotated[Line, Doc("weights have to be read, however few the tokens")]
    compute: Annotated[Line, Doc("the matrix units are busy")]
    decode_ms: NonNegative
    decode_per_seq_ms: NonNegative
    decode_per_kv_token_ms: NonNegative
    prefill_ms: Annotated[NonNegative, Doc("only in iterations without decode")]
    prefill_per_chunk_ms: NonNegative
    prefill_per_token2_ms: Annotated[NonNegative, Doc("per c * (x + c / 2)")]
    overhead: Overhead
    engine: WholeRuns = KERNELS_ALONE
    validity: Validity = EVERYWHERE
    experts: Annotated[ExpertReads | None, Doc("read by mixtures beside `memory`")] = None

    def make(self) -> RooflineModel:
        return RooflineModel(self)


@dataclass(frozen=True)
class DecodeAttention:
    """``const + per_kv_token * KV`` for each batch size; linear between, constant outside."""

    batch: Sizes
    const_ms: tuple[NonNegative, ...]
    per_kv_token_ms: tuple[NonNegative, ...]

    def __post_init__(self) -> None:
        require_grid("batch", self.batch)
        require_lengths(**vars(self))


@dataclass(frozen=True)
class PrefillAttention:
    """Attention of prefill chunks of ``c`` tokens after ``x`` cached ones of the same prompt."""

    const_ms: Annotated[NonNegative, Doc("only in iterations without decode")] = 0.0
    per_chunk_ms: NonNegative = 0.0
    per_token_ms: NonNegative = 0.0
    per_token2_ms: Annotated[NonNegative, Doc("per c * (x + c / 2)")] = 0.0
    per_context_token_ms: NonNegative = 0.0


@dataclass(frozen=True)
class Hybrid(LatencyParameters):
    """Kernel-calibrated whole-iteration model; docs/latency.md explains each term.

    ``factor * (tokens(n) + head(B + C) + overhead(B) + [B > 0] decode(B, KV) + prefill(chunks))``
    for ``n`` tokens in all, ``B`` decode requests, ``C`` chunks. The constant of the prefill
    attention counts only where nothing decodes: one kernel serves a mixed batch.
    """

    tokens: Annotated[TokenCurve, Doc("linear layers and all-reduce against tokens")]
    decode_attention: DecodeAttention
    prefill_attention: PrefillAttention
    head: Annotated[PerSequence, Doc("LM head and sampler, per sequence that is scheduled")]
    overhead: Overhead
    whole_iteration_factor: Annotated[float, Gt(0), Doc("multiplies the iteration time")] = 1.0
    engine: WholeRuns = KERNELS_ALONE
    validity: Validity = EVERYWHERE

    def make(self) -> HybridModel:
        return HybridModel(self)


@dataclass(frozen=True)
class Table(LatencyParameters):
    """Sum of measured parts, which is also how layer-wise profilers cut an iteration.

    ``tokens(n) + sequences(B + C) + overhead(B) + [B > 0] decode(B, KV) + sum(prefill(c, x))``.
    A grid of whole iterations fits in: put its shortest decode and its prefill without context
    into ``tokens``, and the differences to them into ``decode`` and ``prefill``.
    """

    tokens: Annotated[TokenCurve, Doc("dense layers against tokens")]
    decode: DecodeGrid
    prefill: PrefillGrid
    sequences: Annotated[PerSequence, Doc("LM head and sampler, per scheduled sequence")] = FREE
    overhead: Overhead = FREE
    validity: Validity = EVERYWHERE

    def make(self) -> TableModel:
        return TableModel(self)


@dataclass(frozen=True)
class Tail:
    """What the longest sequence of a decode batch adds to the attention of equal lengths.

    One sequence and KV head is one thread block unless the kernel splits sequences. The longest
    one takes ``lone_ms_per_token`` for each of its tokens even if it runs alone, and when its last
    block starts, ``share`` of the attention's time is still to come: the kernel takes
    ``max(0, lone * longest - share * attention)`` longer.
    """

    lone_ms_per_token: Annotated[NonNegative, Doc("one sequence on its thread blocks, all layers")]
    batch: Sizes
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
        NonNegative,
        Doc("decode requests that run beside the chunks at no cost; for B requests n / B"),
    ]


@dataclass(frozen=True)
class Layers(LatencyParameters):
    """Layer-calibrated whole-iteration model; docs/latency.md explains each term.

    ``tokens(padded n) + all_reduce(padded n) + sequences(B + C) + overhead(B) + attention``,
    and ``eager`` where no CUDA graph holds the iteration. ``graph_sizes`` are the graphs that the
    engine captured: an iteration runs in the smallest that holds its tokens. Beyond the last one
    its matrix products still work on tiles of ``tile_tokens``.
    """

    tokens: Annotated[TokenCurve, Doc("all layers but attention, against tokens")]
    sequences: Annotated[TokenCurve, Doc("LM head and sampler, against scheduled sequences")]
    decode: Annotated[DecodeGrid, Doc("attention of decode-only iterations, equal lengths")]
    mixed: Annotated[DecodeGrid, Doc("attention of decodes beside a chunk of no weight")]
    prefill: Annotated[PrefillGrid, Doc("attention of a chunk alone")]
    tail: Tail
    mixing: Mixing
    graph_sizes: Sizes = ()
    tile_tokens: Annotated[int, Ge(1), Doc("tokens are rounded up to whole tiles")] = 1
    eager: Annotated[PerSequence, Doc("beyond the last CUDA graph, per token")] = FREE
    all_reduce: Annotated[TokenCurve | None, Doc("tensor parallelism, against tokens")] = None
    overhead: Annotated[
        PerSequence, Doc("GPU time between kernels and iterations, per decode request")
    ] = FREE
    engine: WholeRuns = KERNELS_ALONE
    validity: Validity = EVERYWHERE

    def __post_init__(self) -> None:
        if any(low >= high for low, high in pairwise(self.graph_sizes)):
            raise ValueError("graph_sizes must increase strictly")

    def make(self) -> LayersModel:
        return LayersModel(self)
