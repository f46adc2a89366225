"""FastServe, rule by rule; an iteration takes 1 s, or 1 ms for each prompt token."""

from dataclasses import replace

import pytest
from watched import ask, column, watch

from bros_sim.core.world import World
from bros_sim.engine.estimate import Estimate
from bros_sim.latency.linear import DecodeLine, Linear
from bros_sim.schedulers.fastserve import FastServeParameters, FastServeScheduler

TENTHS = Estimate(Linear(prefill_per_token_ms=100.0, decode=DecodeLine(const_ms=1.0)))
"""A policy believes a prompt to take 0.1 s a token."""


def fastserve(**policy):
    return FastServeScheduler(
        FastServeParameters(**{"base_quantum_s": 1.0, "starvation_s": 1000.0} | policy)
    )


def seen(requests, *, blocks=1000, **policy):
    """Iterations of 1 s each."""
    return watch(fastserve(**policy), requests, blocks=blocks, estimate=TENTHS)[0]


def test_a_longer_prompt_joins_a_lower_queue():
    requests = [ask(0, 50, 1), ask(1, 20, 1), ask(2, 10, 1)]  # queues 3, 1 and 0
    assert seen(requests, max_num_seqs=1) == [{2: 10}, {1: 20}, {0: 50}]


def test_within_a_queue_the_earlier_comes_first():
    requests = [ask(0, 20, 1), ask(1, 15, 1), ask(2, 11, 1)]  # all in queue 1
    assert seen(requests, max_num_seqs=1) == [{0: 20}, {1: 15}, {2: 11}]


def test_prompts_and_decodes_share_an_iteration_up_to_the_cap():
    requests = [ask(0, 10, 3), ask(1, 10, 2, 0.5), ask(2, 10, 2, 0.5)]
    assert seen(requests, max_num_seqs=2, base_quantum_s=100.0) == [
        {0: 10},
        {0: 1, 1: 10},
        {0: 1, 1: 1},
        {2: 10},
        {2: 1},
    ]


def test_prompts_are_never_cut_and_decodes_do_not_count():
    requests = [ask(0, 10, 3), ask(1, 10, 1), ask(2, 11, 1)]
    got = seen(requests, max_num_seqs=20, max_num_batched_tokens=20, base_quantum_s=100.0)
    assert got == [{0: 10, 1: 10}, {0: 1, 2: 11}, {0: 1}]


def test_service_beyond_the_quantum_lets_the_next_one_in():
    # 0 uses 2 s > 1 s, goes to queue 1 (2 s) and gives its place to 1, then both are in queue 1.
    requests = [ask(0, 10, 4), ask(1, 10, 3)]
    assert seen(requests, max_num_seqs=1) == [
        {0: 10},
        {0: 1},
        {1: 10},
        {1: 1},  # 2 s: to queue 1, in front of 0
        {1: 1},
        {0: 1},
        {0: 1},
    ]


def test_a_newcomer_above_takes_the_place_and_the_other_keeps_its_kv():
    requests = [ask(0, 40, 4), ask(1, 10, 2, 1.5)]
    got, table = watch(fastserve(max_num_seqs=1), requests, estimate=TENTHS)
    assert got == [{0: 40}, {0: 1}, {1: 10}, {1: 1}, {0: 1}, {0: 1}]
    assert column(table, "num_preemptions") == [0, 0]


def test_who_goes_on_does_not_count_as_a_prompt():
    requests = [ask(0, 20, 3), ask(1, 10, 1, 0.5), ask(2, 10, 1, 0.5), ask(3, 20, 1, 1.5)]
    got = seen(requests, max_num_seqs=2, max_num_batched_tokens=20)
    assert got == [{0: 20}, {1: 10, 2: 10}, {0: 1, 3: 20}, {0: 1}]


def test_memory_is_taken_from_the_last_of_the_lowest_queue():
    requests = [ask(0, 16, 8), ask(1, 30, 3), ask(2, 10, 2, 0.5)]  # queues 1, 2 and 0
    got, table = watch(fastserve(), requests, blocks=4, estimate=TENTHS)
    assert column(table, "num_preemptions") == [0, 1, 0]
    assert got[:3] == [{0: 16, 1: 30}, {0: 1, 2: 10}, {0: 1, 2: 1}]
    assert got[3] == {0: 1, 1: 31}


def test_memory_is_not_taken_where_it_would_not_suffice():
    requests = [ask(0, 10, 4), ask(1, 40, 2, 0.5)]
    got, table = watch(fastserve(), requests, blocks=3, estimate=TENTHS)
    assert column(table, "num_preemptions") == [0, 0]
    assert got == [{0: 10}, {0: 1}, {0: 1}, {0: 1}, {1: 40}, {1: 1}]


@pytest.mark.parametrize(("starvation_s", "first_token_s"), [(4.0, 5.0), (1000.0, 9.0)])
def test_who_starves_comes_first(starvation_s, first_token_s):
    quick = [ask(i, 10, 2, 2.0 * (i - 1)) for i in range(1, 5)]  # queue 0 is never empty
    policy = fastserve(max_num_seqs=1, starvation_s=starvation_s)
    _, table = watch(policy, [ask(0, 80, 1), *quick], estimate=TENTHS)
    assert column(table, "first_token_s")[0] == first_token_s


def test_who_is_alone_is_planned_in_stretches():
    policy = fastserve()
    watch(policy, [ask(0, 10, 5)], estimate=TENTHS)
    assert policy.lasts(None) > 1


def test_a_prompt_that_could_never_run_is_refused():
    enough = FastServeParameters(max_num_seqs=9, max_num_batched_tokens=100)
    assert not enough.conflicts(World(100))
    assert "whole prompt" in replace(enough, max_num_batched_tokens=99).conflicts(World(100))[0]
