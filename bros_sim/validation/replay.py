"""Replays a real run's requests through the vLLM baseline with the run's engine arguments."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bros_sim.cluster.cluster import Pool, simulate
from bros_sim.cluster.routers import ROUTERS
from bros_sim.cluster.routers.base import Router
from bros_sim.core.errors import InputError
from bros_sim.core.request import Request, ServiceClass, Slo
from bros_sim.core.world import World
from bros_sim.engine.record import RunLog
from bros_sim.metrics.tables import RunTables, run_tables
from bros_sim.profiles.profile import Profile
from bros_sim.validation.real_run import HASH_BLOCK_TOKENS, HASHES, INTENDED, EngineArguments
from bros_sim.validation.server import server_of
from bros_sim.workload.prompts import shareable
from bros_sim.workload.streams import OpenLoop

DRAIN_S = 86_400.0
REPLAYED = ("round_robin", "random", "least_loaded")


@dataclass(frozen=True)
class Setup:
    """How the run was made beside the engine.

    None: as the run's own file states it, else one replica and a client that never waits.
    """

    max_concurrency: int | None = None
    replicas: int | None = None
    router: str = REPLAYED[0]


AS_STATED = Setup()


def replay(
    requests: pd.DataFrame, arguments: EngineArguments, profile: Profile, setup: Setup = AS_STATED
) -> pd.DataFrame:
    """Simulate the run; one row per request, in the order of ``requests``.

    Data-parallel ranks have a scheduler and KV each; those of a mixture of experts run in lock
    step, those of a dense model are replicas.

    A client with a cap sends a request when it is due (``intended_arrival_s``) and fewer than
    ``max_concurrency`` are in flight, as load generators do.

    Columns: ``arrival_s`` (when the client sends it), ``queued_s`` (when the engine takes it in),
    ``first_token_s``, ``last_token_s``, ``num_preemptions``, ``replica``; NaN where that never
    happened.

    Raises:
        InputError: The arguments do not go together, or not with the profile.
    """
    ranks = arguments.get("data_parallel_size", 1)
    server = server_of(arguments, profile)
    replicas = setup.replicas or arguments.get("replicas", 1)
    if ranks > 1 and replicas > 1:
        raise InputError(f"{replicas} replicas of {ranks} data-parallel ranks cannot be replayed")
    cap = setup.max_concurrency or arguments.get("max_concurrency", None)
    due = requests[INTENDED] if cap and INTENDED in requests else requests["arrival_s"]
    order = np.argsort(due.to_numpy(float), kind="stable")
    made = shareable(_requests(requests.assign(arrival_s=due).iloc[order]))
    log = RunLog()
    record = simulate(
        pools=[
            Pool(
                replicas * ranks,
                server.make,
                front_end=server.front_end,
                lock_step=server.lock_step,
            )
        ],
        router=_router(setup.router, replicas * ranks),
        sources=[OpenLoop(made, max_in_flight=cap)],
        log=log,
        duration_s=float(made[-1].arrival_s) + 1.0,
        drain_s=DRAIN_S,
    )
    tables = run_tables(record)
    columns = [
        "arrival_s", "first_token_s", "last_token_s", "num_preemptions", "replica", "refusal",
    ]  # fmt: skip
    table = tables.requests[columns].assign(queued_s=_taken_in(tables))
    table.index = pd.Index(order[_sent(tables)])
    return table.sort_index()


def _sent(tables: RunTables) -> NDArray[np.int64]:
    """The place of each row's request in the order in which they are due."""
    numbers = tables.requests["request_id"].str.rpartition("-")[2]
    return np.asarray(numbers.astype(int))


def _router(name: str, replicas: int) -> Router:
    if name not in REPLAYED:
        raise InputError(f"--router {name}: should be one of {', '.join(REPLAYED)}")
    return ROUTERS[name]().make(World(max_model_len=1, replicas=replicas))


def _requests(table: pd.DataFrame) -> list[Request]:
    hashes = table[HASHES].fillna("") if HASHES in table else [""] * len(table)
    rows = zip(
        table["arrival_s"], table["prompt_tokens"], table["output_tokens"], hashes, strict=True
    )
    return [
        Request(
            stream="real",
            index=n,
            service_class=ServiceClass.RT,
            arrival_s=float(arrival_s),
            prompt_tokens=int(prompt),
            output_tokens=int(output),
            max_tokens=int(output),
            slo=Slo(),
            prefix_hashes=tuple(int(h) for h in str(keys).split()),
            hash_block_tokens=HASH_BLOCK_TOKENS,
        )
        for n, (arrival_s, prompt, output, keys) in enumerate(rows)
    ]


def _taken_in(tables: RunTables) -> NDArray[np.float64]:
    """When each engine looks at its input: at the end of the iteration under way, or at once."""
    handed = tables.requests["queued_s"].to_numpy(float)
    replica = tables.requests["replica"].to_numpy(int)
    taken = handed.copy()
    for number, ends in enumerate(tables.iteration_end_s):
        steps = tables.steps[tables.steps["replica"] == number]
        mine = replica == number
        if len(steps) and mine.any():
            taken[mine] = _looked_at(handed[mine], steps, ends)
    return taken


def _looked_at(
    handed: NDArray[np.float64], steps: pd.DataFrame, ends: NDArray[np.float64]
) -> NDArray[np.float64]:
    starts, until = (steps[name].to_numpy(float) for name in ("start_s", "end_s"))
    row = np.maximum(np.searchsorted(starts, handed, side="left") - 1, 0)
    busy = (handed > starts[row]) & (handed < until[row])
    after = ends[np.minimum(np.searchsorted(ends, handed), len(ends) - 1)]
    return np.where(busy, after, handed)
