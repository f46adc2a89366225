"""Routers: which replica takes a request, and when."""

from bros_sim.cluster.routers.base import RouterParameters
from bros_sim.cluster.routers.qlm import QlmLikeParameters
from bros_sim.cluster.routers.routing import (
    DedicatedPoolsParameters,
    LeastLoadedParameters,
    RandomParameters,
    RoundRobinParameters,
)

ROUTERS: dict[str, type[RouterParameters]] = {
    "round_robin": RoundRobinParameters,
    "random": RandomParameters,
    "least_loaded": LeastLoadedParameters,
    "dedicated_pools": DedicatedPoolsParameters,
    "qlm_like": QlmLikeParameters,
}
"""``kind`` in YAML -> its parameters; a new router is one file and one line here."""
