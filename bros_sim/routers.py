"""Routers: which replica takes a request."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Protocol

import numpy as np
from annotated_doc import Doc
from annotated_types import Ge

from bros_sim.request import Request, ServiceClass


class ReplicaLoad(Protocol):
    """What a router may know of a replica."""

    @property
    def outstanding_tokens(self) -> int:
        """Prompt and ``max_tokens`` of all its unfinished requests."""
        ...


class Router(Protocol):
    """Chooses a replica for every arrival. One router serves one run."""

    def refuses(self, replicas: int) -> str | None:
        """Why so many replicas cannot be routed to; None when they can."""
        ...

    def seed(self, rng: np.random.Generator) -> None:
        """Draw any randomness from ``rng``; called once before the run."""
        ...

    def route(self, request: Request, replicas: Sequence[ReplicaLoad]) -> int:
        """Index of the replica that takes the request."""
        ...


class _AnyCluster:
    """A router that takes any number of replicas and draws nothing at random."""

    def refuses(self, replicas: int) -> str | None:  # noqa: ARG002
        """See `Router.refuses`."""
        return None

    def seed(self, rng: np.random.Generator) -> None:
        """See `Router.seed`."""


@dataclass
class RoundRobin(_AnyCluster):
    """Each replica in turn."""

    _next: int = field(init=False, default=0)

    def route(self, request: Request, replicas: Sequence[ReplicaLoad]) -> int:  # noqa: ARG002
        """See `Router.route`."""
        chosen = self._next
        self._next = (chosen + 1) % len(replicas)
        return chosen


@dataclass
class RandomRouter(_AnyCluster):
    """Any replica, all equally likely."""

    _rng: np.random.Generator = field(init=False, default_factory=np.random.default_rng)

    def route(self, request: Request, replicas: Sequence[ReplicaLoad]) -> int:  # noqa: ARG002
        """See `Router.route`."""
        return int(self._rng.integers(len(replicas)))

    def seed(self, rng: np.random.Generator) -> None:
        """See `Router.seed`."""
        self._rng = rng


@dataclass
class LeastLoaded(_AnyCluster):
    """The replica with the fewest outstanding tokens; the first of them on a tie."""

    def route(self, request: Request, replicas: Sequence[ReplicaLoad]) -> int:  # noqa: ARG002
        """See `Router.route`."""
        return min(range(len(replicas)), key=lambda i: replicas[i].outstanding_tokens)


@dataclass
class DedicatedPools(_AnyCluster):
    """The first ``rt_replicas`` serve real-time requests, the others best-effort ones.

    Within a pool the replica with the fewest outstanding tokens takes the request.
    """

    rt_replicas: Annotated[int, Ge(1), Doc("replicas of the real-time pool; the rest is for BE")]

    def refuses(self, replicas: int) -> str | None:
        """See `Router.refuses`: both pools need a replica."""
        if self.rt_replicas < replicas:
            return None
        return f"rt_replicas {self.rt_replicas} leaves none of {replicas} replica(s) to BE"

    def route(self, request: Request, replicas: Sequence[ReplicaLoad]) -> int:
        """See `Router.route`."""
        real_time = request.service_class is ServiceClass.RT
        pool = range(self.rt_replicas) if real_time else range(self.rt_replicas, len(replicas))
        return min(pool, key=lambda i: replicas[i].outstanding_tokens)


ROUTERS: dict[str, type[Router]] = {
    "round_robin": RoundRobin,
    "random": RandomRouter,
    "least_loaded": LeastLoaded,
    "dedicated_pools": DedicatedPools,
}
"""``kind`` in YAML -> class; a new router is one class and one line here."""
