"""QLM at the router: groups, the estimated wait, virtual queues, pulling. One rule per test."""

import pytest
from simulations import make_replica, make_request, run

from bros_sim.cluster.routers.qlm import QlmLike, QlmLikeParameters
from bros_sim.core.request import ServiceClass, Slo
from bros_sim.engine.record import RunLog
from bros_sim.engine.sequence import Sequence
from bros_sim.kv.paged import PagedKV
from bros_sim.kv.parameters import PagedParameters, ReservedParameters
from bros_sim.kv.reserved import ReservedKV
from bros_sim.schedulers.tgi import TgiParameters, TgiScheduler
from bros_sim.schedulers.vllm import VllmScheduler
from bros_sim.schedulers.vllm_parameters import VllmParameters
from bros_sim.workload.streams import ClosedLoop, OpenLoop

SOON, LATE = Slo(ttft_s=4.0), Slo(ttft_s=60.0)


class Load:
    """A replica as a router sees it."""

    def __init__(self, waiting: int = 0, free: int = 1000, outstanding: int = 0) -> None:
        self.waiting_tokens, self.free_tokens = waiting, free
        self.outstanding_tokens = outstanding


def fill(router: QlmLike, *slos: Slo, replicas: int = 1) -> list[int]:
    """Requests of these SLOs arrive at time 0; the replica of each."""
    chosen = []
    for i, slo in enumerate(slos):
        request = make_request(i, slo=slo)
        chosen.append(router.route(request, {n: Load() for n in range(replicas)}))
        router.hold(Sequence(i, request, 0.0), chosen[-1])
    return chosen


def pulled(router: QlmLike, now: float, replica: int = 0) -> list[int]:
    """All that the replica can pull, in order."""
    order = []
    while (seq := router.pull(replica, Load(), now)) is not None:
        order.append(seq.id)
    return order


def test_requests_of_one_slo_are_a_group_and_leave_in_order():
    router = QlmLike(QlmLikeParameters(output_tokens=1.0, tokens_per_s=100.0))
    fill(router, LATE, SOON, LATE, SOON)
    assert pulled(router, 0.0) == [0, 2, 1, 3]


def test_groups_stay_in_order_of_arrival_while_all_are_estimated_in_time():
    router = QlmLike(
        QlmLikeParameters(output_tokens=1.0, tokens_per_s=1.0)
    )  # a second for each request
    fill(router, LATE, LATE, LATE, SOON)
    assert pulled(router, 0.0) == [0, 1, 2, 3]


def test_the_earliest_deadline_goes_first_once_a_wait_is_estimated_too_long():
    router = QlmLike(QlmLikeParameters(output_tokens=1.0, tokens_per_s=1.0))
    fill(router, LATE, LATE, LATE, LATE, SOON)  # 5 s > 4 s
    assert pulled(router, 0.0) == [4, 0, 1, 2, 3]


def test_time_that_passes_shortens_the_remaining_slo():
    router = QlmLike(QlmLikeParameters(output_tokens=1.0, tokens_per_s=1.0))
    fill(router, LATE, LATE, LATE, SOON)
    assert pulled(router, 0.5) == [3, 0, 1, 2]


def test_who_has_no_deadline_goes_last_and_a_last_token_counts_where_no_first_one_is_due():
    router = QlmLike(QlmLikeParameters(output_tokens=1.0, tokens_per_s=0.01))
    fill(router, Slo(), Slo(e2e_s=50.0), LATE, SOON)
    assert pulled(router, 0.0) == [3, 1, 2, 0]


def test_a_full_group_is_followed_by_a_new_one():
    router = QlmLike(QlmLikeParameters(group_size=2, output_tokens=1.0, tokens_per_s=100.0))
    fill(router, LATE, LATE, SOON, LATE)
    assert pulled(router, 0.0) == [0, 1, 2, 3]
    router = QlmLike(QlmLikeParameters(group_size=3, output_tokens=1.0, tokens_per_s=100.0))
    fill(router, LATE, LATE, SOON, LATE)
    assert pulled(router, 0.0) == [0, 1, 3, 2]


def test_an_emptied_group_is_closed():
    router = QlmLike(QlmLikeParameters())
    assert fill(router, LATE) == [0]
    assert pulled(router, 0.0) == [0]
    assert fill(router, SOON, LATE, replicas=2) == [0, 1]


def test_a_new_group_goes_where_the_estimated_wait_is_least():
    router = QlmLike(QlmLikeParameters(group_size=2))
    third = Slo(ttft_s=9.0)
    assert fill(router, LATE, SOON, LATE, third, third, replicas=2) == [0, 1, 0, 1, 1]


def test_equal_waits_are_decided_by_the_load_of_the_replicas():
    assert (
        QlmLike(QlmLikeParameters()).route(
            make_request(), {0: Load(outstanding=7), 1: Load(outstanding=3)}
        )
        == 1
    )


def test_nobody_is_pulled_while_enough_wait_in_the_replica():
    router = QlmLike(QlmLikeParameters(pull_tokens=20))
    fill(router, LATE)
    assert router.pull(0, Load(waiting=20), 0.0) is None
    assert router.pull(0, Load(waiting=19), 0.0).id == 0


def test_nobody_is_pulled_for_whom_there_is_no_memory():
    router = QlmLike(QlmLikeParameters())
    fill(router, LATE)
    assert router.pull(0, Load(waiting=5, free=14), 0.0) is None
    assert router.pull(0, Load(waiting=5, free=15), 0.0).id == 0


def test_a_queue_whose_head_has_no_room_is_left_as_it_is():
    """Else the answer could change in the middle of a stretch."""
    router = QlmLike(QlmLikeParameters(output_tokens=1.0, tokens_per_s=1.0))
    fill(router, LATE, LATE, LATE, SOON)
    assert router.pull(0, Load(free=9), 30.0) is None
    assert pulled(router, 0.0) == [0, 1, 2, 3]


def held(router: QlmLike, *requests) -> None:
    for i, request in enumerate(requests):
        router.hold(Sequence(i, request, request.arrival_s), router.route(request, {0: Load()}))


def test_an_urgent_request_passes_a_head_without_room_when_it_joins():
    router = QlmLike(QlmLikeParameters(output_tokens=1.0, tokens_per_s=0.1))
    held(router, make_request(0, prompt=50, slo=LATE), make_request(1, prompt=5, slo=SOON))
    assert router.pull(0, Load(free=9), 0.0).id == 1


def test_who_comes_first_after_sorting_needs_room_as_well():
    router = QlmLike(QlmLikeParameters(output_tokens=1.0, tokens_per_s=1.0))
    held(router, make_request(0, prompt=5, slo=LATE), make_request(1, prompt=50, slo=SOON))
    assert router.pull(0, Load(free=9), 30.0) is None


def one_at_a_time(**parts):
    return make_replica(scheduler=VllmScheduler(VllmParameters(max_num_seqs=1)), **parts)


def order(table) -> list[int]:
    """Requests in the order in which they started."""
    rows = table.requests.dropna(subset=["first_scheduled_s"])
    return rows.sort_values("first_scheduled_s")["request_id"].str.split("-").str[1].tolist()


def test_an_urgent_request_overtakes_those_that_still_wait_at_the_router():
    batch = [make_request(i, output=2, slo=LATE) for i in range(5)]
    chat = make_request(5, arrival_s=1.5, output=1, slo=Slo(ttft_s=2.0))
    router = QlmLike(QlmLikeParameters(pull_tokens=1, output_tokens=1.0, tokens_per_s=1.0))
    table = run([*batch, chat], one_at_a_time(), router=router)
    assert order(table) == ["0", "1", "5", "2", "3", "4"]  # 1 waits in the replica already
    assert set(table.requests["status"]) == {"completed"}


def test_nobody_is_pulled_in_the_middle_of_an_iteration():
    """The later of two that arrive in one is the more urgent: it goes first."""
    requests = [
        make_request(0, output=5),
        make_request(1, arrival_s=1.2, slo=LATE),
        make_request(2, arrival_s=1.6, slo=Slo(ttft_s=2.0)),
    ]
    router = QlmLike(QlmLikeParameters(pull_tokens=1, output_tokens=1.0, tokens_per_s=1.0))
    assert order(run(requests, one_at_a_time(), router=router)) == ["0", "2", "1"]


def test_whoever_waits_at_the_router_to_the_end_is_unfinished():
    requests = [make_request(i, output=4) for i in range(6)]
    router = QlmLike(QlmLikeParameters(pull_tokens=1))
    table = run(requests, one_at_a_time(), duration_s=1.0, drain_s=5.5, router=router)
    assert list(table.requests["status"]) == ["completed", *["unfinished"] * 5]


def test_what_can_never_fit_is_rejected_at_arrival_and_not_when_its_turn_comes():
    requests = [make_request(i, output=40) for i in range(3)]
    big = make_request(3, arrival_s=1.0, prompt=99)
    replica = one_at_a_time(max_model_len=60)
    table = run(
        [*requests, big],
        replica,
        drain_s=0.0,
        duration_s=9.0,
        router=QlmLike(QlmLikeParameters(pull_tokens=1)),
    )
    assert list(table.requests["status"]) == [*["unfinished"] * 3, "rejected"]


@pytest.mark.parametrize("whole_batch", [False, True])
def test_clients_hear_of_rejections_after_the_wait(whole_batch):
    """TGI refuses whoever comes while one is in the house; the clients pause and try again."""
    clients = ClosedLoop(
        4, 0.0, whole_batch, lambda i, t: make_request(i, arrival_s=t, prompt=4, output=3)
    )
    replica = make_replica(
        scheduler=TgiScheduler(TgiParameters(max_concurrent_requests=1)),
        kv=ReservedKV(ReservedParameters(num_gpu_blocks=100)),
    )
    table = run(
        [clients], replica, duration_s=20.0, router=QlmLike(QlmLikeParameters(pull_tokens=1))
    )
    status = table.requests["status"]
    assert set(status) == {"completed", "rejected"}
    assert (status == "completed").sum() >= 4
    assert (table.requests["arrival_s"] > 15.0).sum() >= 4, "a client waits for ever"


def test_a_client_whom_an_idle_replica_turns_away_tries_again():
    clients = ClosedLoop(1, 0.0, False, lambda i, t: make_request(i, arrival_s=t, prompt=9))
    policy, kv = (
        TgiScheduler(TgiParameters(max_input_tokens=5)),
        ReservedKV(ReservedParameters(num_gpu_blocks=100)),
    )
    replica = make_replica(scheduler=policy, kv=kv)
    table = run([clients], replica, duration_s=3.5, router=QlmLike(QlmLikeParameters()))
    assert table.requests["arrival_s"].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert set(table.requests["status"]) == {"rejected"}


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("blocks", [12, 1000])
def test_stretches_change_nothing(count, blocks):
    """L11, with memory that binds and without."""

    def tables(longest_stretch: int):
        log = RunLog()
        replicas = [
            make_replica(
                log,
                i,
                scheduler=VllmScheduler(VllmParameters(max_num_seqs=2 if blocks > 12 else 64)),
                kv=PagedKV(PagedParameters(num_gpu_blocks=blocks, block_size=4)),
                longest_stretch=longest_stretch,
            )
            for i in range(count)
        ]
        chat = [
            make_request(i, arrival_s=0.7 * i, output=1 + i % 7, slo=SOON if i % 3 else LATE)
            for i in range(60)
        ]
        batch = ClosedLoop(
            6,
            0.0,
            False,
            lambda i, t: make_request(
                i, arrival_s=t, output=3 + 5 * i % 11, service_class=ServiceClass.BE
            ),
        )
        router = QlmLike(
            QlmLikeParameters(pull_tokens=1, group_size=3, output_tokens=3.0, tokens_per_s=2.0)
        )
        return run([OpenLoop(chat), batch], *replicas, duration_s=60.0, router=router)

    one_by_one, at_once = tables(1), tables(4096)
    assert one_by_one.requests.equals(at_once.requests)
    assert one_by_one.steps.equals(at_once.steps)
    assert len(one_by_one.requests) > 65
