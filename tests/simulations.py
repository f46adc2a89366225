"""Small simulations for tests: requests, replicas, and runs of them."""

from collections.abc import Sequence
from typing import Any

from bros_sim.cluster.cluster import Pool, simulate
from bros_sim.cluster.routers.routing import RoundRobin
from bros_sim.core.request import Request, ServiceClass, Slo
from bros_sim.core.world import Parameters, World
from bros_sim.engine.engine import Engine
from bros_sim.engine.estimate import Estimate
from bros_sim.engine.link_parameters import HostLink
from bros_sim.engine.record import RunLog
from bros_sim.kv.parameters import PagedParameters
from bros_sim.latency.parameters import DecodeLine, Linear
from bros_sim.metrics.tables import RunTables, run_tables
from bros_sim.schedulers.vllm_parameters import VllmParameters
from bros_sim.workload.streams import ClosedLoop, OpenLoop

WORLD = World(max_model_len=4096)
ONE_SECOND = Linear(prefill_ms=1000.0, decode=DecodeLine(const_ms=1000.0)).make()
"""Every iteration takes one second."""

UNEVEN = Linear(
    prefill_ms=7.1,
    prefill_per_token_ms=0.37,
    decode=DecodeLine(const_ms=3.3, per_seq_ms=0.21, per_kv_token_ms=0.0173),
).make()
"""Iterations of many different durations."""


def make_request(
    index: int = 0,
    *,
    arrival_s: float = 0.0,
    prompt: int = 10,
    output: int = 3,
    service_class: ServiceClass = ServiceClass.RT,
    slo: Slo | None = None,
    prefix: tuple[int, ...] = (),
    hash_block_tokens: int = 16,
) -> Request:
    return Request(
        stream="test",
        index=index,
        service_class=service_class,
        arrival_s=arrival_s,
        prompt_tokens=prompt,
        output_tokens=output,
        max_tokens=2 * output,
        slo=slo or Slo(),
        prefix_hashes=prefix,
        hash_block_tokens=hash_block_tokens,
    )


def made(part: Any) -> Any:
    """What runs, of parameters; all else as it is."""
    return part.make(WORLD) if isinstance(part, Parameters) else part


def make_replica(
    log: RunLog | None = None, index: int = 0, kind: type[Engine] = Engine, **parts: Any
) -> Engine:
    defaults: dict[str, Any] = {
        "scheduler": VllmParameters(),
        "kv": PagedParameters(num_gpu_blocks=1001),
        "latency": ONE_SECOND,
        "max_model_len": 4096,
        "link": HostLink(to_gpu_gb_s=1.0, to_cpu_gb_s=1.0, latency_s=0.001),
        "token_bytes": 100_000,
    }
    parts = {name: made(part) for name, part in (defaults | parts).items()}
    parts.setdefault("estimate", Estimate(parts["latency"]))
    return kind(id=index, log=log or RunLog(), **parts)


def run(
    sources: Sequence[Request] | Sequence[OpenLoop | ClosedLoop],
    *replicas: Engine,
    duration_s: float = 1000.0,
    drain_s: float = 10_000.0,
    router: Any = None,
) -> RunTables:
    """Simulate; a plain list of requests is one open-loop stream."""
    streams = (
        [OpenLoop(list(sources))]
        if not sources or isinstance(sources[0], Request)
        else list(sources)
    )
    engines = list(replicas) or [make_replica()]
    record = simulate(
        pools=[Pool(len(engines), lambda number, _: engines[number])],
        router=made(router) or RoundRobin(),
        sources=streams,
        log=engines[0].log,
        duration_s=duration_s,
        drain_s=drain_s,
    )
    return run_tables(record)
