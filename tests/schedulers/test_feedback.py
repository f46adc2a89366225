"""Feedback queues: who is where, after how much service."""

import pytest

from bros_sim.schedulers.fastserve import FeedbackQueues


def queues(base_s=1.5):
    return FeedbackQueues(base_s, 2.0)


@pytest.mark.parametrize(("first_s", "level"), [(1.5, 0), (1.6, 1), (3.0, 1), (11.0, 3)])
def test_who_needs_more_than_a_quantum_at_once_skips_the_queue(first_s, level):
    q = queues()
    q.join(7, first_s, 0.0)
    assert q.place(7)[0] == level


def test_service_beyond_the_quantum_costs_a_queue_and_starts_anew():
    q = queues()
    q.join(1, 1.0, 0.0)
    q.serve([1], 0.0)
    levels = []
    for _ in range(9):
        q.elapse([1.0])
        levels.append(q.place(1)[0])
    assert levels == [0, 1, 1, 1, 1, 2, 2, 2, 2]  # 2 > 1.5, then 4 > 3; 6 would not be reached


def test_many_iterations_at_once_move_as_one_by_one():
    one, many = queues(), queues()
    for q in (one, many):
        q.join(1, 1.0, 0.0)
        q.join(2, 2.0, 0.0)
        q.serve([1, 2], 0.0)
    for _ in range(20):
        one.elapse([0.7])
    many.elapse([0.7] * 20)
    assert [one.place(i) for i in (1, 2)] == [many.place(i) for i in (1, 2)]


def test_who_rests_keeps_what_it_used():
    q = queues()
    q.join(1, 1.0, 0.0)
    q.serve([1], 0.0)
    q.elapse([1.0])
    q.serve([], 1.0)
    q.elapse([5.0])
    assert q.place(1)[0] == 0
    q.serve([1], 6.0)
    q.elapse([1.0])
    assert q.place(1)[0] == 1


def test_arrivals_stand_behind_those_who_come_from_above():
    q = queues()
    q.join(1, 2.0, 0.0)
    q.join(2, 1.0, 0.0)
    q.serve([2], 0.0)
    q.elapse([2.0])
    assert q.place(2) < q.place(1)
    assert q.place(2)[0] == q.place(1)[0] == 1


def test_who_starves_comes_first():
    q = queues()
    q.join(1, 1.0, 0.0)
    q.join(2, 9.0, 0.0)
    q.serve([1], 0.0)
    assert not q.promote(2.9, 3.0)
    assert q.promote(3.0, 3.0)
    assert q.place(2) < q.place(1)
    assert not q.promote(9.0, 3.0)


def test_who_was_served_meanwhile_does_not_starve():
    q = queues()
    q.join(1, 9.0, 0.0)
    q.serve([1], 1.0)
    q.serve([], 2.0)
    assert not q.promote(4.9, 3.0)
    assert q.promote(5.0, 3.0)
