"""Pools, links and the clock: who serves whom, what queues, what happens first."""

import numpy as np
import pytest
from simulations import make_replica, make_request, run

from bros_sim.cluster.clock import PLAN, Alarm, Clock, iteration_end
from bros_sim.cluster.cluster import Pool, simulate
from bros_sim.cluster.routers.qlm import QlmLike, QlmLikeParameters
from bros_sim.cluster.routers.routing import DedicatedPools, LeastLoaded, RandomRouter, RoundRobin
from bros_sim.cluster.server import Link
from bros_sim.core.request import ServiceClass
from bros_sim.engine.record import RunLog
from bros_sim.kv.paged import PagedKV
from bros_sim.kv.parameters import PagedParameters
from bros_sim.metrics.tables import run_tables
from bros_sim.workload.streams import OpenLoop

RT, BE = ServiceClass.RT, ServiceClass.BE
ROUTERS = {
    "round_robin": RoundRobin,
    "random": lambda: RandomRouter(np.random.default_rng(3)),
    "least_loaded": LeastLoaded,
    "qlm_like": lambda: QlmLike(QlmLikeParameters()),
}


def pool(replicas: int, name: str, classes=(RT, BE), blocks: int = 1001) -> Pool:
    def make(number: int, log: RunLog):
        kv = PagedKV(PagedParameters(num_gpu_blocks=blocks))
        return make_replica(log, number, kv=kv)

    return Pool(replicas, make, name, f"profile of {name}", frozenset(classes))


def served(pools, requests, router):
    record = simulate(
        pools=pools, router=router, sources=[OpenLoop(requests)], log=RunLog(),
        duration_s=100.0, drain_s=1000.0,
    )  # fmt: skip
    return run_tables(record)


def mixed(count: int = 24):
    return [
        make_request(i, arrival_s=0.5 * i, output=2 + i % 3, service_class=BE if i % 3 else RT)
        for i in range(count)
    ]


@pytest.mark.parametrize("kind", ROUTERS)
def test_one_pool_or_many_equal_ones_are_the_same(kind):
    whole = served([pool(3, "all")], mixed(), ROUTERS[kind]())
    parts = served([pool(1, "a"), pool(2, "b")], mixed(), ROUTERS[kind]())
    assert whole.requests.equals(parts.requests)
    assert whole.steps.equals(parts.steps)
    assert set(whole.requests["replica"]) == {0, 1, 2}


@pytest.mark.parametrize("kind", ROUTERS)
def test_a_request_goes_to_an_engine_whose_pool_serves_its_class(kind):
    pools = [pool(1, "rt", [RT]), pool(1, "both"), pool(2, "be", [BE])]
    requests = served(pools, mixed(60), ROUTERS[kind]()).requests
    assert (requests["status"] == "completed").all()
    by_class = requests.groupby("class")["replica"].agg(set)
    assert by_class["rt"] <= {0, 1}
    assert by_class["be"] <= {1, 2, 3}


def test_dedicated_pools_count_the_engines_that_serve_the_class():
    requests = served([pool(3, "all")], mixed(), DedicatedPools(1)).requests
    by_class = requests.groupby("class")["replica"].agg(set)
    assert by_class["rt"] == {0}
    assert by_class["be"] == {1, 2}


def test_the_record_lists_the_engines_of_all_pools():
    tables = served([pool(1, "small", blocks=101), pool(2, "large")], mixed(), RoundRobin())
    engines = tables.engines
    assert engines["engine"].tolist() == [0, 1, 2]
    assert engines["pool"].tolist() == ["small", "large", "large"]
    assert engines["profile"].tolist() == ["profile of small"] + ["profile of large"] * 2
    assert engines["kv_blocks"].tolist() == [100, 1000, 1000]
    assert engines["up_s"].tolist() == [0.0] * 3
    assert engines["down_s"].isna().all()


def test_spans_say_why_they_ended():
    spans = run([make_request(0, output=9), make_request(1, output=50)], duration_s=2.0, drain_s=20)
    assert spans.spans["ended"].tolist() == ["finished", "unfinished"]


def test_transfers_queue_on_a_link():
    link = Link()
    assert link.transfer(1.0, 2.0) == 3.0
    assert link.transfer(1.5, 2.0) == 5.0
    assert link.transfer(7.0, 0.5) == 7.5


def test_what_happens_at_one_instant_has_an_order():
    clock, order = Clock(), []

    def alarm(priority, name, at_s=1.0):
        Alarm(clock, at_s, priority, lambda _: order.append((clock.now, name)))

    alarm(PLAN, "plan")
    alarm(iteration_end(1), "engine 1")
    alarm(iteration_end(0), "engine 0")
    alarm(PLAN, "earlier plan", 0.5)
    clock.timeout(1.0).callbacks.append(lambda _: order.append((clock.now, "arrival")))
    clock.run()
    assert order == [
        (0.5, "earlier plan"), (1.0, "arrival"), (1.0, "engine 0"), (1.0, "engine 1"),
        (1.0, "plan"),
    ]  # fmt: skip
