"""What an iteration costs: latency models and the profiles that hold their coefficients."""

from bros_sim.latency.hybrid import Hybrid
from bros_sim.latency.layers import Layers
from bros_sim.latency.linear import Linear
from bros_sim.latency.roofline import Roofline
from bros_sim.latency.table import Table

LATENCY_MODELS: dict[str, type] = {
    "hybrid": Hybrid,
    "layers": Layers,
    "linear": Linear,
    "roofline": Roofline,
    "table": Table,
}
"""``kind -> class``: the methods of `LatencyModel`, made by ``from_profile(profile)``."""
