"""BROS-RR, rule by rule, seen through steps and token times; every iteration takes 1 s."""

import pytest
from simulations import make_replica, make_request, run

from bros_sim.core.request import ServiceClass
from bros_sim.core.world import World
from bros_sim.kv.paged import PagedKV
from bros_sim.kv.parameters import PagedParameters
from bros_sim.metrics.tokens import token_rows
from bros_sim.schedulers.round_robin import BrosRoundRobinParameters, RoundRobinScheduler

RT, BE = ServiceClass.RT, ServiceClass.BE


def round_robin(*, blocks: int = 1000, size: int = 16, **policy):
    """A replica with that many usable blocks."""
    policy = {"max_num_batched_tokens": 4096, "watermark": 0.0} | policy
    kv = PagedKV(PagedParameters(num_gpu_blocks=blocks + 1, block_size=size))
    return make_replica(scheduler=RoundRobinScheduler(BrosRoundRobinParameters(**policy)), kv=kv)


def requests(*shapes):
    """Requests of (class, prompt, output), with or without an arrival, in that order."""
    return [
        make_request(
            i, service_class=shape[0], prompt=shape[1], output=shape[2], arrival_s=sum(shape[3:])
        )
        for i, shape in enumerate(shapes)
    ]


def iterations(table):
    """Prefill tokens and decodes, iteration by iteration."""
    return [
        tuple(row) for row in table.steps[["prefill_tokens", "decode_jobs"]].to_numpy().tolist()
    ]


def tokens(table):
    """When the tokens of each request came."""
    rows = token_rows(table)
    times = [[] for _ in range(len(table.requests))]
    for request, first, count in zip(rows.request, rows.first, rows.tokens, strict=True):
        times[request] += rows.end_s[first : first + count].tolist()
    return times


def column(table, name):
    return table.requests[name].tolist()


def test_classes_take_turns_while_both_have_work():
    table = run(requests((BE, 10, 3), (RT, 10, 4)), round_robin())
    assert tokens(table) == [[2.0, 4.0, 6.0], [1.0, 3.0, 5.0, 7.0]]


@pytest.mark.parametrize("service_class", [RT, BE])
def test_a_class_alone_runs_in_every_iteration(service_class):
    table = run(requests((service_class, 10, 4)), round_robin())
    assert tokens(table) == [[1.0, 2.0, 3.0, 4.0]]


def test_prompts_join_the_decodes_of_their_class():
    table = run(requests((RT, 10, 4), (RT, 20, 2, 1.5)), round_robin())
    assert iterations(table) == [(10, 0), (0, 1), (20, 1), (0, 2)]


def test_seqs_of_an_iteration_are_limited():
    table = run(requests((RT, 10, 2), (RT, 10, 2), (RT, 10, 2)), round_robin(batch_cap=2))
    assert tokens(table) == [[1.0, 2.0], [1.0, 2.0], [3.0, 4.0]]


def test_prompt_tokens_of_an_iteration_are_limited_and_prompts_never_cut():
    replica = round_robin(max_num_batched_tokens=50)
    table = run(requests((RT, 30, 2), (RT, 30, 2), (RT, 10, 2)), replica)
    assert iterations(table)[:2] == [(30, 0), (40, 1)]


@pytest.mark.parametrize(("watermark", "first_s"), [(0.1, 1.0), (0.3, 3.0)])
def test_waiting_seqs_leave_the_watermark_free_beside_others(watermark, first_s):
    replica = round_robin(blocks=10, watermark=watermark)
    table = run(requests((RT, 112, 2), (RT, 32, 2)), replica)
    assert column(table, "first_token_s") == [1.0, first_s]


def test_a_waiting_rt_takes_the_memory_of_the_newest_be():
    table = run(requests((BE, 30, 9), (BE, 30, 9), (RT, 30, 2, 1.5)), round_robin(blocks=5))
    assert column(table, "num_preemptions") == [0, 1, 0]
    assert tokens(table)[2][0] == 3.0


def test_a_waiting_rt_takes_nothing_where_it_would_not_suffice():
    arrivals = requests((RT, 30, 3), (BE, 10, 4), (RT, 40, 2, 0.5))
    table = run(arrivals, round_robin(blocks=4))
    assert column(table, "num_preemptions") == [0, 0, 0]


def test_a_running_rt_takes_from_be_first_and_then_from_newer_rt():
    enough = run(requests((RT, 16, 4), (BE, 16, 4), (RT, 16, 1)), round_robin(blocks=3))
    assert column(enough, "num_preemptions") == [0, 0, 0]
    from_be = run(requests((RT, 16, 4), (BE, 16, 4), (RT, 10, 4)), round_robin(blocks=3))
    assert column(from_be, "num_preemptions") == [0, 1, 0]
    from_rt = run(requests((RT, 16, 4), (RT, 10, 4)), round_robin(blocks=2))
    assert column(from_rt, "num_preemptions") == [0, 1]


def test_a_running_be_takes_from_newer_be_and_not_from_rt():
    shapes = [(BE, 16, 4), (BE, 10, 4), (RT, 10, 9)]
    table = run(requests(*shapes), round_robin(blocks=3))
    assert column(table, "num_preemptions") == [0, 1, 0]


def test_a_waiting_be_takes_from_nobody():
    table = run(requests((BE, 30, 3), (BE, 30, 2)), round_robin(blocks=3))
    assert column(table, "num_preemptions") == [0, 0]
    assert tokens(table)[1][0] == 4.0


def test_a_turn_without_memory_goes_to_the_other_class():
    table = run(requests((RT, 30, 3), (BE, 30, 2)), round_robin(blocks=3))
    assert tokens(table) == [[1.0, 2.0, 3.0], [4.0, 5.0]]


def test_be_that_lacks_a_block_keeps_what_it_has():
    table = run(requests((RT, 20, 4), (BE, 16, 3)), round_robin(blocks=3))
    assert column(table, "num_preemptions") == [0, 0]
    assert tokens(table) == [[1.0, 3.0, 4.0, 5.0], [2.0, 6.0, 7.0]]


def test_whoever_is_recomputed_waits_in_order_of_arrival():
    table = run(requests((RT, 16, 3), (BE, 16, 2), (BE, 30, 1)), round_robin(blocks=2))
    assert column(table, "num_preemptions") == [0, 1, 0]
    assert tokens(table) == [[1.0, 3.0, 4.0], [2.0, 5.0], [6.0]]


def test_nobody_joins_in_an_iteration_that_lacked_memory():
    table = run(requests((RT, 16, 4), (BE, 48, 3), (RT, 10, 1, 1.5)), round_robin(blocks=4))
    assert column(table, "num_preemptions") == [0, 1, 0]
    assert tokens(table)[2] == [4.0]


def test_a_model_whose_prompts_exceed_the_token_limit_is_refused():
    assert not BrosRoundRobinParameters().conflicts(World(2048))
    assert "below the model length 4096" in BrosRoundRobinParameters().conflicts(World(4096))[0]
