"""Replays a real run's requests through the vLLM baseline with the run's engine arguments."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bros_sim.cluster.cluster import Pool, simulate
from bros_sim.cluster.routers.routing import RoundRobin
from bros_sim.core.errors import InputError
from bros_sim.core.request import Request, ServiceClass, Slo
from bros_sim.core.world import World
from bros_sim.engine.async_scheduling import AsyncEngine
from bros_sim.engine.engine import Engine
from bros_sim.engine.estimate import Estimate
from bros_sim.engine.record import RunLog
from bros_sim.kv.paged import PagedKV, VllmRelease
from bros_sim.kv.parameters import PagedParameters
from bros_sim.metrics.tables import RunTables, run_tables
from bros_sim.profiles.profile import Profile
from bros_sim.schedulers.vllm import VllmScheduler
from bros_sim.schedulers.vllm_parameters import VllmParameters
from bros_sim.validation.conformance import rules_of
from bros_sim.validation.real_run import HASH_BLOCK_TOKENS, HASHES, EngineArguments
from bros_sim.workload.prompts import shareable
from bros_sim.workload.streams import OpenLoop

DRAIN_S = 86_400.0


def replay(requests: pd.DataFrame, arguments: EngineArguments, profile: Profile) -> pd.DataFrame:
    """Simulate the run; one row per request, in the order of ``requests``.

    Columns: ``queued_s`` (when the engine takes it in), ``first_token_s``, ``last_token_s``,
    ``num_preemptions``; NaN where that never happened.
    """
    ingest_s = profile.engine.term("ingest_ms") / 1e3 if profile.engine else 0.0
    replica = _engine(arguments, profile)
    made = shareable(_requests(requests, ingest_s))
    record = simulate(
        pools=[Pool(1, lambda *_: replica)],
        router=RoundRobin(),
        sources=[OpenLoop(made)],
        log=replica.log,
        duration_s=float(made[-1].arrival_s) + 1.0,
        drain_s=DRAIN_S,
    )
    tables = run_tables(record)
    table = tables.requests[["first_token_s", "last_token_s", "num_preemptions", "arrival_s"]]
    return table.assign(queued_s=_taken_in(tables, table["arrival_s"].to_numpy(float)))


def _engine(arguments: EngineArguments, profile: Profile) -> Engine:
    rules, reserves, lags = _release(arguments.vllm_version)
    policy = arguments.get("scheduling_policy", "fcfs")
    if policy not in {"fcfs", "priority"}:
        raise InputError(f"{arguments.file}: scheduling_policy: '{policy}' cannot be replayed")
    stated = {"scheduler_reserve_full_isl": reserves, **arguments.scheduler()}
    parameters = VllmParameters(version=rules, **stated)
    max_model_len = arguments.get("max_model_len", profile.model.max_model_len)
    refusals = parameters.conflicts(World(max_model_len))
    tp = arguments.get("tensor_parallel_size", profile.tp)
    if tp != profile.tp:
        refusals = (f"tensor_parallel_size {tp} is not that of {profile.id} ({profile.tp})",)
    if refusals:
        raise InputError(f"{arguments.file}: {refusals[0]}")
    latency = profile.models.by_kind()[profile.default_model].make()
    # The KV blocks as overridden, as the engine's log says, else the profile's.
    blocks = arguments.get("num_gpu_blocks", profile.kv.num_gpu_blocks)
    kv = PagedParameters(
        num_gpu_blocks=arguments.get("num_gpu_blocks_override", blocks),
        block_size=arguments.get("block_size", profile.kv.block_size),
        enable_prefix_caching=arguments.get("enable_prefix_caching", True),
        version=rules,
    )
    kind = AsyncEngine if arguments.get("async_scheduling", lags) else Engine
    return kind(
        id=0,
        scheduler=VllmScheduler(parameters),
        kv=PagedKV(kv),
        latency=latency,
        log=RunLog(),
        max_model_len=max_model_len,
        estimate=Estimate(latency),
    )


def _release(version: str | None) -> tuple[VllmRelease, bool, bool]:
    """A release's rules; whether it reserves full prompts and schedules asynchronously."""
    if version is None:
        return "0.33.0", True, True
    try:
        major, minor = (int(part) for part in version.split(".")[:2])
    except ValueError:
        raise InputError(f"vllm_version: should be like 0.19.0 (got {version!r})") from None
    return rules_of(version), (major, minor) >= (0, 19), (major, minor) >= (0, 14)


def _requests(table: pd.DataFrame, ingest_s: float) -> list[Request]:
    hashes = table[HASHES].fillna("") if HASHES in table else [""] * len(table)
    columns = ("arrival_s", "prompt_tokens", "output_tokens")
    rows = zip(*(table[name] for name in columns), hashes, strict=True)
    return [
        Request(
            stream="real",
            index=n,
            service_class=ServiceClass.RT,
            arrival_s=float(arrival_s) + ingest_s,
            prompt_tokens=int(prompt),
            output_tokens=int(output),
            max_tokens=int(output),
            slo=Slo(),
            prefix_hashes=tuple(int(h) for h in str(keys).split()),
            hash_block_tokens=HASH_BLOCK_TOKENS,
        )
        for n, (arrival_s, prompt, output, keys) in enumerate(rows)
    ]


def _taken_in(tables: RunTables, arrivals_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """When the engine looks at its input: at the end of the iteration under way, or at once."""
    if not len(tables.steps):
        return arrivals_s
    starts, ends = (tables.steps[name].to_numpy(float) for name in ("start_s", "end_s"))
    iterations = tables.iteration_end_s[0]
    row = np.maximum(np.searchsorted(starts, arrivals_s, side="left") - 1, 0)
    busy = (arrivals_s > starts[row]) & (arrivals_s < ends[row])
    after = iterations[np.minimum(np.searchsorted(iterations, arrivals_s), len(iterations) - 1)]
    return np.where(busy, after, arrivals_s)
