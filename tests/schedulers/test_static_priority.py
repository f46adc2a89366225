"""`static_priority`, rule by rule; every iteration takes 1 s."""

import pytest
from scripted import BE, ask, column, firsts, play, tokens

from bros_sim.schedulers.textbook import StaticPriorityParameters, StaticPriorityScheduler


def policy(**options):
    return StaticPriorityScheduler(
        StaticPriorityParameters(**{"reserved_seats": 0.0, "reserved_blocks": 0.0} | options)
    )


def test_real_time_starts_first_then_by_arrival():
    table = play(policy(max_num_seqs=1), ask(cls=BE), ask(), ask(cls=BE), ask())
    assert firsts(table) == [7.0, 1.0, 10.0, 4.0]


def test_a_prompt_of_real_time_goes_before_one_of_best_effort_under_way():
    table = play(
        policy(max_num_batched_tokens=20, max_num_seqs=4), ask(60, cls=BE), ask(20, 3, 0.5)
    )
    assert firsts(table) == [5.0, 2.0]


@pytest.mark.parametrize(("share", "third"), [(0.0, 1.0), (0.5, 4.0)])
def test_best_effort_leaves_a_share_of_the_seats(share, third):
    arrivals = [ask(cls=BE) for _ in range(3)]
    table = play(policy(max_num_seqs=4, reserved_seats=share), *arrivals)
    assert firsts(table) == [1.0, 1.0, third]


def test_real_time_takes_the_reserved_seats_and_any_other():
    arrivals = [ask() for _ in range(4)]
    table = play(policy(max_num_seqs=4, reserved_seats=0.5), *arrivals, ask(cls=BE))
    assert firsts(table) == [1.0, 1.0, 1.0, 1.0, 4.0]


def test_real_time_finds_a_reserved_seat_beside_best_effort():
    arrivals = ask(cls=BE), ask(cls=BE), ask(at=0.5), ask(cls=BE, at=0.5)
    assert firsts(play(policy(max_num_seqs=4, reserved_seats=0.5), *arrivals)) == [1, 1, 2, 4]


@pytest.mark.parametrize(("share", "second"), [(0.0, 1.0), (0.5, 4.0)])
def test_best_effort_leaves_a_share_of_the_blocks(share, second):
    shared = policy(reserved_blocks=share)
    table = play(shared, ask(40, cls=BE), ask(40, cls=BE), blocks=9)
    assert firsts(table) == [1.0, second]


def test_real_time_takes_the_reserved_blocks():
    table = play(policy(reserved_blocks=0.5), ask(40, cls=BE), ask(40), ask(40), blocks=9)
    assert firsts(table) == [4.0, 1.0, 1.0]


def test_best_effort_alone_needs_no_reserve():
    table = play(policy(reserved_blocks=0.9, reserved_seats=0.9), ask(100, cls=BE), blocks=9)
    assert column(table, "status") == ["completed"]


def test_short_of_memory_the_latest_best_effort_gives_way():
    arrivals = ask(16, 3, cls=BE), ask(16, 3, cls=BE), ask(16, 3)
    table = play(policy(), *arrivals, blocks=5)
    assert column(table, "num_preemptions") == [0, 1, 0]


@pytest.mark.parametrize("preempts", [False, True])
def test_a_waiting_real_time_request_takes_a_seat_only_if_told_so(preempts):
    arrivals = ask(10, 9, cls=BE), ask(10, 2, 1.5)
    table = play(policy(max_num_seqs=1, preempts_be=preempts), *arrivals)
    assert tokens(table)[1] == ([3.0, 4.0] if preempts else [10.0, 11.0])


def test_real_time_takes_nothing_from_real_time():
    table = play(policy(max_num_seqs=1, preempts_be=True), ask(10, 9), ask(10, 2, 1.5))
    assert column(table, "num_preemptions") == [0, 0]
