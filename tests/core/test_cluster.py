"""The SimPy shell, seen through what happened when: requests, steps, clients, the end."""

import numpy as np
import pytest
from simulations import ONE_SECOND, UNEVEN, make_replica, make_request, run

from bros_sim.cluster.routers.qlm import QlmLikeParameters
from bros_sim.cluster.routers.routing import (
    LeastLoaded,
    LeastLoadedParameters,
    RandomParameters,
    RandomRouter,
    RoundRobin,
    RoundRobinParameters,
)
from bros_sim.core.request import ServiceClass
from bros_sim.engine.record import RunLog
from bros_sim.engine.sequence import Sequence
from bros_sim.kv.paged import PagedKV
from bros_sim.kv.parameters import PagedParameters
from bros_sim.latency.parameters import DecodeLine, Linear
from bros_sim.latency.term_parameters import Validity
from bros_sim.schedulers.vllm import VllmScheduler
from bros_sim.schedulers.vllm_parameters import VllmParameters
from bros_sim.workload.streams import ClosedLoop, OpenLoop


def story(table, *columns):
    return [tuple(row) for row in table.requests[list(columns)].itertuples(index=False)]


def steps(table):
    columns = ["start_s", "end_s", "repeat", "prefill_tokens", "decode_jobs"]
    return [tuple(row) for row in table.steps[columns].itertuples(index=False)]


def test_one_request_prefills_then_decodes_in_one_stretch():
    table = run([make_request(prompt=10, output=4)])
    assert story(table, "first_scheduled_s", "first_token_s", "last_token_s") == [(0.0, 1.0, 4.0)]
    assert steps(table) == [(0.0, 1.0, 1, 10, 0), (1.0, 4.0, 3, 0, 1)]


def test_an_arrival_cuts_the_stretch_at_the_iteration_under_way():
    table = run([make_request(0, output=9), make_request(1, arrival_s=3.5, output=2)])
    assert story(table, "first_scheduled_s", "last_token_s") == [(0.0, 9.0), (4.0, 6.0)]
    assert steps(table)[1:4] == [(1.0, 4.0, 3, 0, 1), (4.0, 5.0, 1, 10, 1), (5.0, 6.0, 1, 0, 2)]


def test_an_arrival_at_the_end_of_an_iteration_is_seen_by_the_next_plan():
    table = run([make_request(0, output=9), make_request(1, arrival_s=3.0, output=2)])
    assert story(table, "first_scheduled_s")[1] == (3.0,)


def test_all_arrivals_of_an_instant_are_planned_together():
    table = run([make_request(i, arrival_s=2.0, output=1) for i in range(3)])
    assert story(table, "first_scheduled_s", "last_token_s") == [(2.0, 3.0)] * 3


def test_an_idle_replica_starts_at_the_arrival():
    table = run([make_request(0, output=1), make_request(1, arrival_s=7.25, output=1)])
    assert story(table, "arrival_s", "last_token_s")[1] == (7.25, 8.25)


def test_the_run_drains_and_then_cuts_off():
    requests = [make_request(0, output=3), make_request(1, output=50)]
    table = run(requests, duration_s=2.0, drain_s=8.5)
    columns = ("status", "generated_tokens", "last_token_s")
    assert story(table, *columns) == [("completed", 3, 3.0), ("unfinished", 10, 10.0)]
    assert steps(table)[-1][1] == 10.0


def test_nothing_counts_that_ends_at_the_cut_or_later():
    table = run([make_request(output=50)], duration_s=2.0, drain_s=8.0)
    assert story(table, "generated_tokens") == [(9,)]


def test_streams_take_turns_in_their_order_at_one_instant():
    first = [make_request(i, arrival_s=t, prompt=1) for i, t in enumerate([0.5, 1.0])]
    second = [make_request(i, arrival_s=t, prompt=2) for i, t in enumerate([1.0, 1.0])]
    table = run([OpenLoop(first), OpenLoop(second)])
    assert story(table, "arrival_s", "prompt_tokens") == [(0.5, 1), (1.0, 1), (1.0, 2), (1.0, 2)]


def test_a_request_that_rounds_onto_the_end_still_counts():
    table = run([make_request(arrival_s=5.0 - 1e-12)], duration_s=5.0, drain_s=0.0)
    assert story(table, "status") == [("unfinished",)]
    assert table.requests["arrival_s"][0] < 5.0


def test_iterations_that_cost_nothing_still_take_time():
    table = run([make_request(output=5)], make_replica(latency=Linear().make()))
    assert (np.diff(table.iteration_end_s[0], prepend=0.0) == 2.0**-30).all()


@pytest.mark.parametrize(
    "kind", [RoundRobinParameters, LeastLoadedParameters, RandomParameters, QlmLikeParameters]
)
@pytest.mark.parametrize("count", [2, 3])
def test_ties_between_replicas_do_not_depend_on_stretches(kind, count):
    """L11 where every step of every replica ends at the same instants, and clients react."""

    def tables(longest_stretch: int):
        router = kind()
        log = RunLog()
        parts = {"longest_stretch": longest_stretch}
        replicas = [
            make_replica(log, i, scheduler=VllmScheduler(VllmParameters()), **parts)
            for i in range(count)
        ]

        def request(index: int, arrival_s: float):
            output = 1 + (7 * index) % 5
            return make_request(index, arrival_s=arrival_s, prompt=1 + index % 3, output=output)

        return run([ClosedLoop(7, 0.0, False, request)], *replicas, duration_s=60.0, router=router)

    one_by_one, at_once = tables(1), tables(4096)
    assert one_by_one.requests.equals(at_once.requests)
    assert one_by_one.steps.equals(at_once.steps)


def test_requests_that_can_never_fit_are_rejected_at_arrival():
    replica = make_replica(max_model_len=100)
    requests = [
        make_request(0, prompt=100, output=1),
        make_request(1, prompt=99, output=1),
        make_request(2, prompt=50, output=50),
        make_request(3, prompt=51, output=50),
    ]
    table = run(requests, replica)
    columns = ("status", "refusal", "generated_tokens")
    no, done = ("rejected", "too long", 0), ("completed", "")
    assert story(table, *columns) == [no, (*done, 1), (*done, 50), no]


def test_memory_bounds_what_fits_with_the_last_token_for_free():
    replica = make_replica(kv=PagedKV(PagedParameters(num_gpu_blocks=4)))
    requests = [make_request(0, prompt=40, output=9), make_request(1, prompt=40, output=10)]
    table = run(requests, replica)
    assert story(table, "status", "refusal") == [("completed", ""), ("rejected", "never fits")]


def closed_loop(clients: int, think_s: float = 0.0, *, batch: bool = False, **shape) -> ClosedLoop:
    def request(index: int, arrival_s: float):
        return make_request(index, arrival_s=arrival_s, **shape)

    return ClosedLoop(clients, think_s, batch, request)


def test_a_client_reacts_at_once_and_joins_the_next_plan():
    table = run([closed_loop(1, output=2)], duration_s=5.0)
    assert story(table, "arrival_s", "first_scheduled_s") == [(0.0, 0.0), (2.0, 2.0), (4.0, 4.0)]


def test_a_client_thinks_before_its_next_request():
    table = run([closed_loop(1, think_s=1.5, output=2)], duration_s=5.0)
    assert story(table, "arrival_s") == [(0.0,), (3.5,)]


def test_clients_keep_their_number_of_requests_out():
    table = run([closed_loop(3, output=2)], duration_s=5.0)
    assert story(table, "arrival_s") == [(0.0,)] * 3 + [(2.0,)] * 3 + [(4.0,)] * 3


def test_a_batch_waits_for_its_slowest_member():
    def request(index: int, arrival_s: float):
        return make_request(index, arrival_s=arrival_s, output=1 + index % 2 * 3)

    table = run([ClosedLoop(2, 0.0, True, request)], duration_s=7.0)
    assert story(table, "arrival_s") == [(0.0,), (0.0,), (4.0,), (4.0,)]


def test_clients_whose_requests_are_rejected_go_on_without_hanging():
    table = run([closed_loop(2, prompt=9999)], duration_s=3.0)
    assert set(table.requests["status"]) == {"rejected"}
    assert story(table, "arrival_s") == [(0.0,), (0.0,), (1.0,), (1.0,), (2.0,), (2.0,)]


def two_replicas(**parts):
    log = RunLog()
    return [make_replica(log, index, **parts) for index in range(2)]


@pytest.mark.parametrize(
    ("router", "expected"),
    [(RoundRobin(), [0, 1, 0, 1]), (LeastLoaded(), [0, 1, 1, 1])],
)
def test_routers_choose_a_replica(router, expected):
    log = RunLog()
    replicas = [make_replica(log, i, scheduler=VllmScheduler(VllmParameters())) for i in range(2)]
    prompts = [100, 10, 10, 10]
    requests = [make_request(i, prompt=p, arrival_s=0.1 * i) for i, p in enumerate(prompts)]
    table = run(requests, *replicas, router=router)
    assert list(table.requests["replica"]) == expected


def test_least_loaded_forgets_what_finished():
    log = RunLog()
    replicas = [make_replica(log, i, scheduler=VllmScheduler(VllmParameters())) for i in range(2)]
    requests = [
        make_request(0, prompt=100, output=1),
        make_request(1, prompt=10, output=1, arrival_s=0.5),
        make_request(2, arrival_s=5.0),
    ]
    table = run(requests, *replicas, router=LeastLoaded())
    assert list(table.requests["replica"]) == [0, 1, 0]


def test_random_router_is_seeded_and_even():
    def chosen(seed: int) -> list[int]:
        router = RandomRouter(np.random.default_rng(seed))
        log = RunLog()
        replicas = [
            make_replica(log, i, scheduler=VllmScheduler(VllmParameters())) for i in range(2)
        ]
        requests = [make_request(i, arrival_s=0.01 * i, output=1) for i in range(400)]
        return list(run(requests, *replicas, router=router).requests["replica"])

    assert chosen(1) == chosen(1) != chosen(2)
    assert 160 < sum(chosen(1)) < 240


def test_replicas_step_independently():
    log = RunLog()
    replicas = [make_replica(log, i, scheduler=VllmScheduler(VllmParameters())) for i in range(2)]
    requests = [make_request(0, output=5), make_request(1, arrival_s=0.5, output=2)]
    table = run(requests, *replicas)
    assert story(table, "last_token_s") == [(5.0,), (2.5,)]
    assert [len(ends) for ends in table.iteration_end_s] == [5, 2]


def test_seqs_of_a_step_finish_in_order_of_admission():
    """As in vLLM; the order in which they give their blocks back decides what is evicted next."""
    scheduler = VllmScheduler(VllmParameters(long_prefill_token_threshold=10))
    replica = make_replica(scheduler=scheduler)
    replica.submit(Sequence(0, make_request(0, prompt=30, output=1), 0.0))
    replica.submit(Sequence(1, make_request(1, prompt=5, output=3), 0.0))
    finished = []
    for now in range(3):
        replica.begin(float(now))
        finished += [[seq.id for seq in replica.proceed()]]
    assert finished == [[], [], [0, 1]]


def test_steps_tell_queue_batch_and_memory_by_class():
    replica = make_replica(scheduler=VllmScheduler(VllmParameters(max_num_seqs=2)))
    classes = [ServiceClass.RT, ServiceClass.BE, ServiceClass.BE]
    requests = [make_request(i, prompt=20, service_class=c) for i, c in enumerate(classes)]
    first = run(requests, replica).steps.iloc[0]
    columns = ["running_rt", "running_be", "waiting_rt", "waiting_be", "kv_tokens", "kv_tokens_rt"]
    assert first[columns].tolist() == [1, 1, 0, 1, 40, 20]
    assert first["free_blocks"] == 1000 - 4


def test_extrapolated_iterations_are_counted_inside_a_stretch():
    once = {"prefill_ms": 1000.0, "decode": DecodeLine(const_ms=1000.0)}
    latency = Linear(**once, validity=Validity(max_kv_tokens=15)).make()
    for longest in (1, 4096):
        replica = make_replica(latency=latency, longest_stretch=longest)
        table = run([make_request(prompt=10, output=10)], replica)
        assert table.steps[["repeat", "extrapolated"]].values.tolist() == [[1, 0], [9, 4]]


def test_cost_grows_with_the_kv_that_decodes_attend_to():
    latency = Linear(prefill_ms=1000.0, decode=DecodeLine(per_kv_token_ms=62.5)).make()
    table = run([make_request(prompt=10, output=4)], make_replica(latency=latency))
    assert np.allclose(np.diff(table.iteration_end_s[0]), [11 / 16, 12 / 16, 13 / 16], atol=1e-9)


def test_times_lie_on_the_clock_grid():
    table = run(
        [make_request(i, arrival_s=0.1 * i) for i in range(9)], make_replica(latency=UNEVEN)
    )
    times = table.requests[["arrival_s", "first_token_s", "last_token_s"]].to_numpy()
    assert (times * 2**30 % 1 == 0).all()
    assert ONE_SECOND is not UNEVEN


def test_a_pause_hides_no_iteration_from_a_policy():
    """What a policy learns of durations does not depend on how iterations were grouped (L11)."""

    class Listening(VllmScheduler):
        def plan(self, view):
            if view.now <= 200.0:  # what comes after the last plan nobody can hear
                heard.extend(view.last_durations_s)
            return super().plan(view)

    requests = [make_request(n, arrival_s=100.0 * n, output=5) for n in range(3)]
    told = []
    for longest in (1, 4096):
        heard: list[float] = []
        run(requests, make_replica(scheduler=Listening(VllmParameters()), longest_stretch=longest))
        told.append(heard)
    assert told[0] == told[1] == [1.0] * 10
