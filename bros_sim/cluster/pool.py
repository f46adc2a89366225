"""A pool: replicas of one system, each of them an engine."""

from collections.abc import Callable
from dataclasses import dataclass

from bros_sim.cluster.front_end import FrontEnd
from bros_sim.core.request import ServiceClass
from bros_sim.engine.engine import Engine
from bros_sim.engine.record import RunLog


@dataclass(frozen=True)
class Pool:
    """Equal replicas of a system: ``make`` makes the engine of a number, which writes into a log.

    ``profile`` is what the record calls their GPU and model. A router sees the engines of pools
    that serve the class of the request. Without a ``front_end`` an engine has a request at once.
    """

    replicas: int
    make: Callable[[int, RunLog], Engine]
    name: str = ""
    profile: str = ""
    classes: frozenset[ServiceClass] = frozenset(ServiceClass)
    front_end: FrontEnd | None = None
