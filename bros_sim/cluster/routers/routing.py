"""Routers that hand every request over at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from annotated_doc import Doc
from annotated_types import Ge

from bros_sim.cluster.routers.base import AnyCluster, ReplicaLoad
from bros_sim.core.request import Request, ServiceClass


@dataclass
class RoundRobin(AnyCluster):
    """Each replica in turn."""

    _next: int = field(init=False, default=0)

    def route(self, request: Request, replicas: Sequence[ReplicaLoad]) -> int:  # noqa: ARG002
        """See `Router.route`."""
        chosen = self._next
        self._next = (chosen + 1) % len(replicas)
        return chosen


@dataclass
class RandomRouter(AnyCluster):
    """Any replica, all equally likely."""

    _rng: np.random.Generator = field(init=False, default_factory=np.random.default_rng)

    def route(self, request: Request, replicas: Sequence[ReplicaLoad]) -> int:  # noqa: ARG002
        """See `Router.route`."""
        return int(self._rng.integers(len(replicas)))

    def seed(self, rng: np.random.Generator) -> None:
        """See `Router.seed`."""
        self._rng = rng


@dataclass
class LeastLoaded(AnyCluster):
    """The replica with the fewest outstanding tokens; the first of them on a tie."""

    def route(self, request: Request, replicas: Sequence[ReplicaLoad]) -> int:  # noqa: ARG002
        """See `Router.route`."""
        return min(range(len(replicas)), key=lambda i: replicas[i].outstanding_tokens)


@dataclass
class DedicatedPools(AnyCluster):
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
