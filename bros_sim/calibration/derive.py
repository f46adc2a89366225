"""Profiles of what nobody measured: from kernel tables of the card, else from its data sheet."""

from dataclasses import dataclass, replace
from pathlib import Path

from bros_sim.calibration.fit import fit_error
from bros_sim.calibration.fit_design import covariance_factors, six_digits
from bros_sim.calibration.fit_forms import NO_ROOFLINE
from bros_sim.calibration.kernels import (
    HEAD,
    MAX_CONTEXT,
    RANGE,
    fit_kernels,
    held_out_rows,
    kernels_of,
    training_rows,
)
from bros_sim.calibration.kernels_dense import HALF, elementwise_ms
from bros_sim.calibration.kernels_tables import MADE_WITH, TABLE_HEAD_DIM
from bros_sim.calibration.profiles import ENGINE_OVERHEAD, Target, assemble
from bros_sim.core.errors import InputError
from bros_sim.latency.parameters import ExpertReads, Line, Roofline
from bros_sim.latency.term_parameters import PerSequence, Validity
from bros_sim.profiles.model_shape import BYTES, ModelShape
from bros_sim.profiles.profile import FitError, Profile, Source
from bros_sim.profiles.uncertainty import Uncertainty

PEAK_SCALE_PCT = 20.0
"""Band of a profile from data sheets. On a card that its factors were not calibrated on the rule
misses kernel sums by 15 % (root mean square); what engines add differs by some more."""
PECULIAR_SCALE_PCT = 25.0
"""The same of mixtures, latent attention, windows and quantized weights, of which there are none
among the pairs that the factors are calibrated on."""
KERNEL_SCALE_PCT = 10.0
"""Band of a profile from kernel sums of a pair that nobody looked at: twice that of the shipped
ones, as head counts and GEMM sizes between those of the tables are interpolated."""
OVERHEAD_NOTE = (
    "Engine overhead 0.46 + 0.0146 B ms is calibrated on one run of Llama-2-70B TP4 on H100; here "
    "it is assumed, not measured."
)
CONTEXT_NOTE = (
    "Prefill after cached tokens is an assumption for these kernels (full prefill of equal "
    "attention work), checked on one older kernel only."
)
ENGINE_SOURCE = Source(
    "inference-sim general steps, vLLM 0.15.1, Llama-2-70B TP4 on H100",
    "Apache-2.0",
    "engine overhead (365 consecutive real decode iterations of one run)",
)


def derive(target: Target, tables: Path | None) -> Profile:
    """A profile without measurements of this pair: from ``tables`` if given, else from peaks."""
    return _from_peaks(target) if tables is None else _from_kernels(target, tables)


def _from_peaks(target: Target) -> Profile:
    longest = target.config.shape.max_model_len
    most = {"max_kv_tokens_per_job": longest, "max_context_tokens": min(longest, MAX_CONTEXT)}
    basis = (
        "stated: the rule misses kernel sums by 15 % (root mean square) on a card left out "
        "of its calibration; engines differ by some more"
    )
    if peculiar := target.config.peculiar:
        basis = (
            f"stated: {', '.join(peculiar)} are not in the rule's calibration; it misses layer "
            "times of one mixture (Qwen3-30B-A3B, RTX PRO 6000) by 19 % (root mean square)"
        )
    return assemble(
        target,
        roofline_of(target, ENGINE_OVERHEAD, replace(RANGE, **most)),
        label="Derived from data sheet peaks (nothing measured)",
        error=FitError(against="nothing: no iteration or kernel of this card was measured"),
        uncertainty=Uncertainty(basis, PECULIAR_SCALE_PCT if peculiar else PEAK_SCALE_PCT),
        sources=(Source(target.facts.source, "numbers only", "peak rates"), ENGINE_SOURCE),
        notes=(
            "The times are peak rates times factors calibrated on other cards.",
            OVERHEAD_NOTE,
            *target.config.time_notes,
        ),
    )


def _from_kernels(target: Target, tables: Path) -> Profile:
    config, gpu_id = target.config, target.facts.id
    config.require_plain("--tables")
    if config.shape.head_dim % 8 or config.shape.head_dim > 2 * TABLE_HEAD_DIM:
        what = f"cells are of heads of {TABLE_HEAD_DIM}, and {config.shape.head_dim}"
        raise InputError(f"--tables {tables}: {what} is too far from that")
    kernels = kernels_of(tables, gpu_id, target.facts.gpu(), config.shape, target.tp)
    within = kernels.validity()
    bare = fit_kernels(kernels, within)
    held_out, release = held_out_rows(kernels, within), MADE_WITH[gpu_id]
    factors = covariance_factors(bare, training_rows(kernels, within), known=HEAD)
    basis = (
        "factors: Gauss-Newton covariance (sandwich) of the fit to kernel sums; scale: "
        "stated, twice that of pairs that were looked at"
    )
    kernel_source = Source(
        f"aiconfigurator 0.8.0 kernel tables (vLLM {release}.0, fp16)",
        "Apache-2.0",
        "dense layers, custom all-reduce, prefill attention, decode attention",
    )
    return assemble(
        target,
        replace(bare, overhead=ENGINE_OVERHEAD),
        label=f"Derived from kernels (vLLM {release})",
        error=fit_error(bare, held_out, f"kernel sums of this pair: {len(held_out)} held-out rows"),
        uncertainty=Uncertainty(basis, KERNEL_SCALE_PCT, factors),
        sources=(kernel_source, ENGINE_SOURCE),
        notes=(*_kernel_notes(target, kernels.folded), OVERHEAD_NOTE, CONTEXT_NOTE),
    )


def _kernel_notes(target: Target, folded: int) -> list[str]:
    notes = ["No whole iteration of this pair has been compared with a real engine."]
    if folded > 1:
        notes.append(
            f"Decode attention is that of {folded} times fewer KV heads and {folded} times the "
            "requests: the tables have no multi-head decode."
        )
    if (size := target.config.shape.head_dim) != TABLE_HEAD_DIM:
        notes.append(f"Attention times are those of heads of {TABLE_HEAD_DIM}, times {size}/128.")
    return notes


@dataclass(frozen=True)
class Efficiency:
    """Time over what the data sheet promises, and the fixed costs of kernels in milliseconds."""

    read: float
    compute: float
    kv: float
    attention: float
    peer: float
    layer_ms: float
    allreduce_ms: float


CALIBRATED = Efficiency(1.32, 1.31, 1.31, 1.43, 1.67, layer_ms=0.0325, allreduce_ms=0.0075)
"""Least squares over the kernel sums of the 19 kernel-calibrated pairs together."""


def roofline_of(
    target: Target, overhead: PerSequence, validity: Validity, efficiency: Efficiency = CALIBRATED
) -> Roofline:
    """What an iteration costs on a card nobody measured, from its data sheet.

    Each term is a physical amount over the card's peak, times how much longer than that kernels
    take (docs/latency.md names the command that calibrates the factors), per GPU:

    - memory: weights of the layers and the LM head, read once; compute: two operations a weight
      of the layers and token; both: the fixed cost of each layer, elementwise operations,
      all-reduces.
    - decode: the KV read; prefill: four operations a head dimension and pair of tokens.
    - a mixture: weights of the experts that the tokens pass; operations of active parameters.
    """
    facts, config, tp = target.facts, target.config, target.tp
    model, per_ms, flops_per_ms = config.shape, facts.bandwidth_gb_s * 1e6, facts.peak_tflops * 1e9
    embedding, expert_bytes = model.vocab * model.hidden, model.bytes_of_experts(config.dtype)
    looked_up = 0 if config.tied else embedding * BYTES[config.dtype]
    read = efficiency.read / tp / per_ms
    layers = (model.active_parameters - embedding * (1 if config.tied else 2)) / tp
    compute = efficiency.compute * 2 * layers / flops_per_ms
    fixed = model.layers * (efficiency.layer_ms + (2 * efficiency.allreduce_ms if tp > 1 else 0.0))
    moved = 2 * 2 * (tp - 1) / tp * HALF * model.hidden / (facts.peer_gb_s * 1e6)
    elementwise = elementwise_ms(model, tp, facts.bandwidth_gb_s)
    per_token = model.layers * (elementwise + efficiency.peer * moved)
    kept = read * (config.weight_bytes - looked_up - expert_bytes) + fixed
    attention = _attention_of(target, efficiency)
    return replace(
        NO_ROOFLINE,
        memory=Line(six_digits(kept), six_digits(per_token)),
        compute=Line(six_digits(fixed), six_digits(compute + per_token + attention.windows)),
        decode_per_seq_ms=six_digits(attention.window_reads),
        decode_per_kv_token_ms=six_digits(attention.kv_token),
        prefill_per_token2_ms=six_digits(attention.pair),
        overhead=overhead,
        validity=validity,
        experts=_reads_of(model, six_digits(read * expert_bytes)),
    )


def _reads_of(model: ModelShape, read_ms: float) -> ExpertReads | None:
    return ExpertReads(read_ms, model.experts.share) if model.experts else None


@dataclass(frozen=True)
class _Attention:
    """Milliseconds of attention on one GPU."""

    kv_token: float  # a decoded token, for each token of its request: KV read, or operations on it
    window_reads: float  # a decoded token: KV of its windows
    pair: float  # a pair of tokens in prefill, layers with windows left aside
    windows: float  # a token: operations in its windows


def _attention_of(target: Target, efficiency: Efficiency) -> _Attention:
    """Latent attention decodes on the latent KV itself: all heads score and sum all its values."""
    facts, config, tp = target.facts, target.config, target.tp
    model, windows = config.shape, config.shape.windows
    of_byte = efficiency.kv / tp / (facts.bandwidth_gb_s * 1e6)
    of_width = efficiency.attention * 4 * model.heads / tp / (facts.peak_tflops * 1e9)
    full = model.layers - (windows.layers if windows else 0)
    pair = of_width * model.head_dim
    return _Attention(
        kv_token=max(
            of_byte * config.kv_bytes_per_token(tp), of_width * full * (model.latent_kv or 0)
        ),
        window_reads=of_byte * model.window_bytes(tp, config.dtype),
        pair=pair * full,
        windows=pair * windows.layers * windows.tokens if windows else 0.0,
    )
