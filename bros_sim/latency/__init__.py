"""What an iteration costs: latency models and the coefficients that profiles hold of them."""

from bros_sim.latency.parameters import Hybrid, Layers, Linear, Roofline, Table
from bros_sim.latency.term_parameters import LatencyParameters

LATENCY_MODELS: dict[str, type[LatencyParameters]] = {
    "hybrid": Hybrid,
    "layers": Layers,
    "linear": Linear,
    "roofline": Roofline,
    "table": Table,
}
"""``kind`` in YAML and in profiles -> its parameters."""
