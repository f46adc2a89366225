"""`edf` and `least_slack`, rule by rule."""

import pytest
from scripted import BE, RT, Slo, ask, column, firsts, play

from bros_sim.latency.parameters import DecodeLine, Linear
from bros_sim.schedulers.textbook import EdfParameters, LeastSlackParameters, LeastSlackScheduler

BOTH = pytest.mark.parametrize("policy", [EdfParameters, LeastSlackParameters])
PER_TOKEN = Linear(prefill_per_token_ms=100.0, decode=DecodeLine(const_ms=1000.0)).make()


def due(ttft_s, tpot_s=None, e2e_s=None):
    return Slo(ttft_s, tpot_s, e2e_s)


@BOTH
def test_the_earliest_first_token_starts_first(policy):
    arrivals = ask(slo=due(9)), ask(slo=due(4)), ask(at=1.5, slo=due(1))
    assert firsts(play(policy(max_num_seqs=1), *arrivals)) == [7.0, 1.0, 4.0]


@BOTH
def test_a_deadline_of_the_whole_request_counts_as_well(policy):
    arrivals = ask(slo=due(9)), ask(cls=BE, slo=due(None, e2e_s=5)), ask(slo=due(30, e2e_s=7))
    assert firsts(play(policy(max_num_seqs=1), *arrivals)) == [7.0, 1.0, 4.0]


@BOTH
def test_without_a_deadline_real_time_goes_before_best_effort_at_the_end(policy):
    arrivals = ask(cls=BE), ask(cls=RT), ask(cls=BE, slo=due(99))
    assert firsts(play(policy(max_num_seqs=1), *arrivals)) == [7.0, 4.0, 1.0]


@BOTH
def test_short_of_memory_the_latest_next_token_gives_way(policy):
    """At 1 s the second token of the first is due at 12 s, of the other at 8 s."""
    arrivals = ask(16, 3, slo=due(2, 10)), ask(16, 3, slo=due(6, 2))
    table = play(policy(), *arrivals, blocks=3)
    assert column(table, "num_preemptions") == [1, 0]


@BOTH
@pytest.mark.parametrize("preempts", [False, True])
def test_best_effort_gives_seat_and_memory_to_real_time_if_told_so(policy, preempts):
    arrivals = ask(20, 9, cls=BE, slo=due(0.1)), ask(10, 2, 1.5, slo=due(5))
    for limits, blocks in (({"max_num_seqs": 1}, 99), ({}, 2)):
        table = play(policy(preempts_be=preempts, **limits), *arrivals, blocks=blocks)
        assert column(table, "num_preemptions") == [int(preempts), 0]
        assert firsts(table)[1] == (3.0 if preempts else 10.0)


@BOTH
def test_best_effort_takes_nothing_from_anybody(policy):
    arrivals = ask(10, 9), ask(10, 2, 1.5, cls=BE, slo=due(1))
    table = play(policy(preempts_be=True, max_num_seqs=1), *arrivals)
    assert column(table, "num_preemptions") == [0, 0]


@BOTH
def test_real_time_takes_nothing_from_real_time(policy):
    arrivals = ask(10, 9, slo=due(9)), ask(10, 2, 1.5, slo=due(1))
    table = play(policy(preempts_be=True, max_num_seqs=1), *arrivals)
    assert column(table, "num_preemptions") == [0, 0]


@pytest.mark.parametrize(
    ("policy", "expected"), [(EdfParameters, [5.0, 1.0]), (LeastSlackParameters, [4.0, 5.0])]
)
def test_slack_counts_what_a_prompt_still_takes(policy, expected):
    """40 tokens due at 7 s leave 3 s to spare, 10 tokens due at 6 s leave 5 s."""
    arrivals = ask(40, 1, slo=due(7)), ask(10, 1, slo=due(6))
    assert firsts(play(policy(max_num_seqs=1), *arrivals, latency=PER_TOKEN)) == expected


def test_slack_of_a_prompt_in_chunks_is_that_of_all_of_them():
    fixed = Linear(prefill_ms=1000.0, decode=DecodeLine(const_ms=1000.0)).make()
    policy = LeastSlackScheduler(LeastSlackParameters(max_num_seqs=1, max_num_batched_tokens=10))
    arrivals = ask(35, 1, slo=due(9)), ask(10, 1, slo=due(8))
    assert firsts(play(policy, *arrivals, latency=fixed)) == [4.0, 5.0]
