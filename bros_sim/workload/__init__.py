"""Workloads: where requests come from. Four tables, each ``kind -> class`` (docs/workloads.md)."""

from bros_sim.workload import lengths
from bros_sim.workload.arrivals import Bag, Clients, Constant, Gamma, Poisson, Weibull
from bros_sim.workload.modulated import Diurnal, Mmpp, OnOff, Piecewise
from bros_sim.workload.readers import TRACES
from bros_sim.workload.replay import Replay, TwinArrivals

__all__ = ["ARRIVALS", "LENGTHS", "MAX_TOKENS", "TRACES"]

ARRIVALS: dict[str, type] = {
    "poisson": Poisson,
    "constant": Constant,
    "gamma": Gamma,
    "weibull": Weibull,
    "mmpp": Mmpp,
    "on_off": OnOff,
    "piecewise": Piecewise,
    "diurnal": Diurnal,
    "twin": TwinArrivals,
    "replay": Replay,
    "closed_loop": Clients,
    "bag": Bag,
}
"""When requests come."""

LENGTHS: dict[str, type] = {
    "empirical": lengths.Empirical,
    "uniform": lengths.Uniform,
    "fixed": lengths.Fixed,
    "lognormal": lengths.LogNormal,
    "mixture": lengths.Mixture,
}
"""How long prompts and outputs are."""

MAX_TOKENS: dict[str, type] = {
    "headroom": lengths.Headroom,
    "exact": lengths.Exact,
    "fixed": lengths.FixedCap,
}
"""The cap that a client states where its trace states none."""
