"""Routers: which replica takes a request, and when."""

from bros_sim.cluster.routers.base import Router
from bros_sim.cluster.routers.qlm import QlmLike
from bros_sim.cluster.routers.routing import DedicatedPools, LeastLoaded, RandomRouter, RoundRobin

ROUTERS: dict[str, type[Router]] = {
    "round_robin": RoundRobin,
    "random": RandomRouter,
    "least_loaded": LeastLoaded,
    "dedicated_pools": DedicatedPools,
    "qlm_like": QlmLike,
}
"""``kind`` in YAML -> class; a new router is one file and one line here."""
