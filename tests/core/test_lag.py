"""Asynchronous scheduling: an iteration is planned while the one before it computes."""

import dataclasses

import numpy as np
import pytest
from simulations import ONE_SECOND, make_replica, make_request
from simulations import run as run_all

from bros_sim.engine.async_scheduling import AsyncEngine
from bros_sim.engine.engine import Engine
from bros_sim.engine.estimate import Estimate
from bros_sim.engine.record import RunLog
from bros_sim.kv.paged import PagedKV
from bros_sim.kv.parameters import PagedParameters
from bros_sim.latency.parameters import DecodeLine, Layers, Linear
from bros_sim.profiles.profile import load_profile
from bros_sim.schedulers.fastserve import FastServeParameters
from bros_sim.schedulers.vllm import VllmScheduler
from bros_sim.schedulers.vllm_parameters import VllmParameters

LAYERS = load_profile("rtx4090/llama-3.1-8b-tp1").coefficients(Layers).make()


def run(requests, latency=ONE_SECOND, *, seats=8, blocks=1000, longest=4096, lag=True):
    replica = (AsyncEngine if lag else Engine)(
        id=0,
        scheduler=VllmScheduler(VllmParameters(max_num_seqs=seats)),
        kv=PagedKV(PagedParameters(num_gpu_blocks=blocks)),
        latency=latency,
        log=RunLog(),
        max_model_len=100_000,
        estimate=Estimate(latency),
        longest_stretch=longest,
    )
    return run_all(requests, replica), replica


def test_an_arrival_is_planned_one_iteration_later():
    requests = [make_request(0, output=9), make_request(1, arrival_s=2.5, output=2)]
    tables, _ = run(requests)
    # It arrives in the third iteration; the fourth was planned before.
    assert tables.requests["first_scheduled_s"].tolist() == [0.0, 4.0]
    assert run(requests, lag=False)[0].requests["first_scheduled_s"][1] == 3.0


def test_a_seat_is_free_one_iteration_later():
    requests = [make_request(0, output=3), make_request(1, output=9), make_request(2, output=2)]
    tables, _ = run(requests, seats=2)
    assert tables.requests["last_token_s"][0] == 3.0
    assert tables.requests["first_scheduled_s"][2] == 4.0
    assert run(requests, seats=2, lag=False)[0].requests["first_scheduled_s"][2] == 3.0


def test_an_engine_with_nothing_under_way_plans_at_once():
    requests = [make_request(0, output=2), make_request(1, arrival_s=1.5, output=2)]
    tables, _ = run(requests, seats=1)
    assert tables.requests["first_scheduled_s"].tolist() == [0.0, 2.0]
    alone, _ = run([make_request(0), make_request(1, arrival_s=50.0)])
    assert alone.requests["first_scheduled_s"].tolist() == [0.0, 50.0]


@pytest.mark.parametrize("blocks", [40, 400])
@pytest.mark.parametrize("latency", [ONE_SECOND, LAYERS], ids=["constant", "layers"])
def test_stretches_change_nothing_and_all_blocks_come_back(blocks, latency):
    rng = np.random.default_rng(blocks)
    arrivals = np.sort(rng.uniform(0, 20, 60))
    requests = [
        make_request(n, arrival_s=t, prompt=int(p), output=int(o))
        for n, (t, p, o) in enumerate(
            zip(arrivals, rng.integers(1, 300, 60), rng.integers(1, 200, 60), strict=True)
        )
    ]
    (long, replica), (single, _) = (
        run(requests, latency, seats=12, blocks=blocks, longest=n) for n in (4096, 1)
    )
    for field in ("requests", "steps", "spans", "exceptions"):
        assert getattr(long, field).equals(getattr(single, field))
    assert (long.requests["status"] == "completed").all()
    assert replica.kv.free_blocks == replica.kv.usable_blocks
    assert dataclasses.replace(long).requests["num_preemptions"].sum() > 0 or blocks == 400


def test_a_plan_that_only_pauses_waits_for_the_memory_of_the_finished():
    """FastServe prefers waiting requests to the one that decodes; the finished hold all blocks."""
    scheduler = FastServeParameters(
        max_num_batched_tokens=120, max_num_seqs=4, base_quantum_s=0.005, starvation_s=0.05
    )
    lengths = [(1, 1), (1, 1), (47, 1), (1, 2), *[(1, 1)] * 8, (3, 1)]
    requests = [make_request(i, prompt=p, output=n) for i, (p, n) in enumerate(lengths)]
    engine = make_replica(
        kind=AsyncEngine,
        scheduler=scheduler,
        kv=PagedParameters(num_gpu_blocks=28, block_size=2, enable_prefix_caching=False),
        latency=Linear(prefill_ms=125.0, decode=DecodeLine(const_ms=125.0)).make(),
    )
    assert set(run_all(requests, engine).requests["status"]) == {"completed"}
