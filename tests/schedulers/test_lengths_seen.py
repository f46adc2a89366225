"""Bounds of output lengths from what has ended."""

from bros_sim.schedulers.tempo_like import LengthsSeen


def seen(*lengths, quantile=0.9, memory=1000):
    lengths_seen = LengthsSeen(quantile, memory)
    for tokens in lengths:
        lengths_seen.add("chat", tokens)
    return lengths_seen


def test_the_cap_where_nothing_longer_has_ended():
    assert seen().bound("chat", 0, 64) == 64
    assert seen(10).bound("chat", 10, 64) == 64
    assert seen(10).bound("batch", 0, 64) == 64


def test_the_quantile_of_what_has_ended_and_never_more_than_the_cap():
    lengths_seen = seen(*range(10, 0, -1))
    assert lengths_seen.bound("chat", 0, 64) == 9
    assert lengths_seen.bound("chat", 0, 5) == 5


def test_the_longer_a_request_goes_on_the_longer_it_is_taken_to_be():
    lengths_seen = seen(10, 20, 30, 40, quantile=0.5)
    assert [lengths_seen.bound("chat", n, 99) for n in (0, 10, 25, 35)] == [20, 30, 30, 40]


def test_the_oldest_are_forgotten():
    assert seen(500, 1, 2, 3, memory=3, quantile=1.0).bound("chat", 0, 999) == 3
