"""`sjf` and `srpf`, rule by rule; every iteration takes 1 s."""

import pytest
from scripted import ask, column, firsts, iterations, play, tokens

from bros_sim.schedulers.textbook import (
    SjfParameters,
    SjfScheduler,
    SrpfParameters,
    SrpfScheduler,
)


def test_the_shortest_by_prompt_and_predicted_output_starts_first():
    table = play(SjfScheduler(SjfParameters(max_num_seqs=1)), ask(10, 9), ask(30, 2), ask(10, 4))
    assert firsts(table) == [5.0, 14.0, 1.0]


@pytest.mark.parametrize(
    ("lengths", "expected"), [("max_tokens", [1.0, 6.0]), ("oracle", [3.0, 1.0])]
)
def test_lengths_are_the_cap_or_the_truth(lengths, expected):
    arrivals = ask(10, 5, max_tokens=10), ask(10, 2, max_tokens=50)
    assert (
        firsts(play(SjfScheduler(SjfParameters(lengths=lengths, max_num_seqs=1)), *arrivals))
        == expected
    )


def test_an_oracle_forgets_who_is_gone():
    policy = SjfScheduler(SjfParameters(lengths="oracle"))
    play(policy, ask(), ask(output=1))
    assert policy._true == {}


def test_by_sjf_who_runs_goes_on():
    table = play(SjfScheduler(SjfParameters(max_num_seqs=1)), ask(10, 9), ask(1, 1, 0.5))
    assert firsts(table) == [1.0, 10.0]
    assert column(table, "num_preemptions") == [0, 0]


def test_by_sjf_the_largest_gives_way_when_memory_is_short():
    table = play(SjfScheduler(SjfParameters()), ask(16, 9), ask(16, 3), blocks=3)
    assert column(table, "num_preemptions") == [1, 0]


def test_by_srpf_who_has_less_left_takes_the_seat():
    table = play(SrpfScheduler(SrpfParameters(max_num_seqs=1)), ask(10, 9), ask(1, 2, 0.5))
    assert tokens(table)[1] == [2.0, 3.0]
    assert column(table, "num_preemptions") == [1, 0]


def test_by_srpf_what_is_done_does_not_count():
    """18 predicted tokens are left of the first when the second comes with 20 to go."""
    table = play(SrpfScheduler(SrpfParameters(max_num_seqs=1)), ask(10, 10), ask(10, 5, 1.5))
    assert column(table, "num_preemptions") == [0, 0]


def test_by_srpf_who_lost_its_memory_has_all_to_do_again():
    """The first would go before the third with what it had left, but it is longer by its prompt."""
    arrivals = ask(30, 10), ask(1, 3, 0.5), ask(10, 12, 0.5)
    table = play(SrpfScheduler(SrpfParameters(max_num_seqs=1)), *arrivals)
    assert tokens(table)[1] == [2.0, 3.0, 4.0]
    assert firsts(table)[2] == 5.0


def test_srpf_of_niyama_hands_out_the_budget_by_the_prompt_that_is_left():
    policy = SrpfScheduler(
        SrpfParameters(remaining="prompt", max_num_batched_tokens=20, max_num_seqs=9)
    )
    arrivals = ask(60, 1), ask(30, 1, 0.5), ask(15, 50, 0.5)
    table = play(policy, *arrivals)
    assert firsts(table)[:3] == [6.0, 4.0, 2.0]
    assert iterations(table)[1] == (20, 0)


def test_srpf_of_niyama_evicts_nobody_for_another():
    policy = SrpfParameters(remaining="prompt", max_num_seqs=1, max_num_batched_tokens=20)
    table = play(policy, ask(50, 9), ask(1, 1, 0.5))
    assert column(table, "num_preemptions") == [0, 0]
    assert "Niyama" in policy.mirrors
