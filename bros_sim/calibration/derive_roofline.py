"""A roofline from data sheets: what an iteration of a model costs on a card nobody measured.

Each term is a physical amount over the card's peak, times how much longer than that kernels take.
These factors are calibrated on kernel sums of four cards (docs/latency.md names the command).
"""

from dataclasses import dataclass

from bros_sim.calibration.fit_design import six_digits
from bros_sim.calibration.fit_lines import roofline
from bros_sim.calibration.gpus import GpuFacts
from bros_sim.calibration.kernels_dense import HALF, elementwise_ms
from bros_sim.latency.parameters import Line, Roofline
from bros_sim.latency.term_parameters import PerSequence, Validity
from bros_sim.profiles.profile import BYTES, ModelShape


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
    facts: GpuFacts,
    model: ModelShape,
    tp: int,
    dtype: str,
    *,
    tied: bool = False,
    overhead: PerSequence,
    validity: Validity,
    efficiency: Efficiency = CALIBRATED,
) -> Roofline:
    """Coefficients in milliseconds, per GPU of ``tp``.

    - memory: weights of the layers and the LM head, read once; compute: two operations a weight
      of the layers and token; both: the fixed cost of each layer, elementwise operations,
      all-reduces.
    - decode: the KV read; prefill: four operations a head dimension and pair of tokens.
    """
    embedding = model.vocab * model.hidden
    layers = (model.parameters - embedding * (1 if tied else 2)) / tp
    per_ms, flops_per_ms = facts.bandwidth_gb_s * 1e6, facts.peak_tflops * 1e9
    read = efficiency.read * BYTES[dtype] * (layers + embedding / tp) / per_ms
    compute = efficiency.compute * 2 * layers / flops_per_ms
    fixed = model.layers * (efficiency.layer_ms + (2 * efficiency.allreduce_ms if tp > 1 else 0.0))
    per_token = _per_token_ms(facts, model, tp, efficiency)
    kv_bytes = model.kv_bytes_per_token(tp, dtype) // tp
    pair = 4 * model.heads / tp * model.head_dim * model.layers
    return roofline(
        Line(six_digits(read + fixed), six_digits(per_token)),
        Line(six_digits(fixed), six_digits(compute + per_token)),
        overhead,
        validity,
        kv_ms=six_digits(efficiency.kv * kv_bytes / per_ms),
        pair_ms=six_digits(efficiency.attention * pair / flops_per_ms),
    )


def _per_token_ms(facts: GpuFacts, model: ModelShape, tp: int, efficiency: Efficiency) -> float:
    """Elementwise operations, and what the all-reduces of all layers move."""
    moved = 2 * 2 * (tp - 1) / tp * HALF * model.hidden / (facts.peer_gb_s * 1e6)
    elementwise = elementwise_ms(model, tp, facts.bandwidth_gb_s)
    return model.layers * (elementwise + efficiency.peer * moved)
