"""Who implements a port need not repeat what its methods do; every other method says it."""

import importlib
import inspect
import pkgutil
from types import FunctionType

import bros_sim.cluster.routers
import bros_sim.kv
import bros_sim.latency
import bros_sim.schedulers
from bros_sim.cluster.routers.base import HoldingRouter, Router, RouterParameters
from bros_sim.engine.kv_cache import KVManager
from bros_sim.engine.latency_model import LatencyModel
from bros_sim.engine.scheduler import Scheduler
from bros_sim.kv.parameters import KvParameters
from bros_sim.latency.term_parameters import LatencyParameters
from bros_sim.schedulers.parameters import SchedulerParameters
from bros_sim.schedulers.queues import FcfsQueue

ROOMS = (bros_sim.cluster.routers, bros_sim.kv, bros_sim.latency, bros_sim.schedulers)
PORTS = (
    HoldingRouter, KVManager, LatencyModel, Router, Scheduler, FcfsQueue,
    KvParameters, LatencyParameters, RouterParameters, SchedulerParameters,
)  # fmt: skip


def _classes():
    for room in ROOMS:
        for found in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            module = importlib.import_module(found.name)
            yield from (
                cls for cls in vars(module).values()
                if inspect.isclass(cls) and cls.__module__ == found.name
            )  # fmt: skip


def _documented(cls: type, name: str) -> bool:
    """Whether a method says what it does, here, in a base class or in a port."""
    return any(inspect.getdoc(getattr(base, name, None)) for base in (*cls.__mro__, *PORTS))


def test_every_public_method_is_documented_here_or_in_its_port():
    methods = [
        (cls, name)
        for cls in _classes()
        for name, value in vars(cls).items()
        if isinstance(value, FunctionType | property) and not name.startswith("_")
    ]
    assert len(methods) > 300
    assert [f"{c.__qualname__}.{name}" for c, name in methods if not _documented(c, name)] == []
