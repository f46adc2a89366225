"""Routers that hand every request over at once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_doc import Doc
from annotated_types import Ge

from bros_sim.cluster.routers.base import EngineLoad, RouterParameters
from bros_sim.core.request import Request, ServiceClass
from bros_sim.core.world import World


@dataclass(frozen=True)
class RoundRobinParameters(RouterParameters):
    """Each replica in turn."""

    def make(self, world: World) -> "RoundRobin":
        return RoundRobin()


class RoundRobin:
    """The replica after the one that took the last request."""

    def __init__(self) -> None:
        self._next = 0

    def route(self, request: Request, engines: Mapping[int, EngineLoad]) -> int:
        numbers = list(engines)
        chosen = self._next % len(numbers)
        self._next = chosen + 1
        return numbers[chosen]


@dataclass(frozen=True)
class RandomParameters(RouterParameters):
    """Any replica, all equally likely."""

    def make(self, world: World) -> "RandomRouter":
        return RandomRouter(world.generator("router"))


@dataclass
class RandomRouter:
    """A draw for every request."""

    rng: np.random.Generator

    def route(self, request: Request, engines: Mapping[int, EngineLoad]) -> int:
        return list(engines)[int(self.rng.integers(len(engines)))]


@dataclass(frozen=True)
class LeastLoadedParameters(RouterParameters):
    """The replica with the fewest outstanding tokens; the first of them on a tie."""

    def make(self, world: World) -> "LeastLoaded":
        return LeastLoaded()


class LeastLoaded:
    """Looks at every replica for every request."""

    def route(self, request: Request, engines: Mapping[int, EngineLoad]) -> int:
        return least_loaded(engines, engines)


def least_loaded(numbers: Iterable[int], engines: Mapping[int, EngineLoad]) -> int:
    """The first of these engines with the fewest outstanding tokens."""
    return min(numbers, key=lambda number: engines[number].outstanding_tokens)


@dataclass(frozen=True)
class DedicatedPoolsParameters(RouterParameters):
    """The first ``rt_replicas`` serve real-time requests, the others best-effort ones.

    Within a pool the replica with the fewest outstanding tokens takes the request.
    """

    rt_replicas: Annotated[int, Ge(1), Doc("replicas of the real-time pool; the rest is for BE")]

    def conflicts(self, world: World) -> tuple[str, ...]:
        """Both pools need a replica."""
        if self.rt_replicas < world.replicas:
            return ()
        what = f"leaves none of {world.replicas} replica(s) to BE"
        return (f"rt_replicas {self.rt_replicas} {what}",)

    def make(self, world: World) -> "DedicatedPools":
        return DedicatedPools(self.rt_replicas)


@dataclass
class DedicatedPools:
    """`LeastLoaded` in the pool of the request's class."""

    rt_replicas: int

    def route(self, request: Request, engines: Mapping[int, EngineLoad]) -> int:
        real_time = request.service_class is ServiceClass.RT
        numbers = list(engines)
        pool = numbers[: self.rt_replicas] if real_time else numbers[self.rt_replicas :]
        return least_loaded(pool, engines)
