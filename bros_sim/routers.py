"""Routers: which replica takes a request."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from bros_sim.request import Request


class ReplicaLoad(Protocol):
    """What a router may know of a replica."""

    @property
    def outstanding_tokens(self) -> int:
        """Prompt and ``max_tokens`` of all its unfinished requests."""
        ...


class Router(Protocol):
    """Chooses a replica for every arrival. One router serves one run."""

    def route(self, request: Request, replicas: Sequence[ReplicaLoad]) -> int:
        """Index of the replica that takes the request."""
        ...

    def seed(self, rng: np.random.Generator) -> None:
        """Draw any randomness from ``rng``; called once before the run."""
        ...


@dataclass
class RoundRobin:
    """Each replica in turn."""

    _next: int = field(init=False, default=0)

    def route(self, request: Request, replicas: Sequence[ReplicaLoad]) -> int:  # noqa: ARG002
        """See `Router.route`."""
        chosen = self._next
        self._next = (chosen + 1) % len(replicas)
        return chosen

    def seed(self, rng: np.random.Generator) -> None:
        """See `Router.seed`; nothing is random here."""


@dataclass
class RandomRouter:
    """Any replica, all equally likely."""

    _rng: np.random.Generator = field(init=False, default_factory=np.random.default_rng)

    def route(self, request: Request, replicas: Sequence[ReplicaLoad]) -> int:  # noqa: ARG002
        """See `Router.route`."""
        return int(self._rng.integers(len(replicas)))

    def seed(self, rng: np.random.Generator) -> None:
        """See `Router.seed`."""
        self._rng = rng


@dataclass
class LeastLoaded:
    """The replica with the fewest outstanding tokens; the first of them on a tie."""

    def route(self, request: Request, replicas: Sequence[ReplicaLoad]) -> int:  # noqa: ARG002
        """See `Router.route`."""
        return min(range(len(replicas)), key=lambda i: replicas[i].outstanding_tokens)

    def seed(self, rng: np.random.Generator) -> None:
        """See `Router.seed`; nothing is random here."""


ROUTERS: dict[str, type[Router]] = {
    "round_robin": RoundRobin,
    "random": RandomRouter,
    "least_loaded": LeastLoaded,
}
"""``kind`` in YAML -> class; a new router is one class and one line here."""
