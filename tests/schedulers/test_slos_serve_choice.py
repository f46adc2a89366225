"""The dynamic programme of SLOs-Serve: whom to promise a first token in time."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from bros_sim.schedulers.slos_serve import Candidate, most_in_time

LOTS = 10**6


def thousand_less_a_tenth_per_decode(decodes):
    """1,000 prompt tokens a second, 100 fewer for each decode."""
    return max(0.0, 1000.0 - 100.0 * decodes)


def chosen(*candidates, decodes=0, free_blocks=LOTS, most_decodes=LOTS):
    rate = thousand_less_a_tenth_per_decode
    return most_in_time(candidates, decodes, free_blocks, rate, most_decodes)


def new(due_s, tokens, blocks=1):
    return Candidate(due_s, tokens, blocks, promised=False)


def old(due_s, tokens):
    return Candidate(due_s, tokens, 0, promised=True)


def test_prompts_due_by_an_instant_fit_into_the_tokens_computed_by_then():
    assert chosen(new(0.1, 100)) == (0,)
    assert chosen(new(0.1, 101)) == ()


def test_as_many_as_can_be_not_the_first():
    assert chosen(new(0.1, 100), new(0.1, 50), new(0.1, 50)) == (1, 2)


def test_decodes_take_their_share_of_each_second():
    assert chosen(new(0.1, 80), decodes=2) == (0,)
    assert chosen(new(0.1, 81), decodes=2) == ()


def test_who_is_accepted_decodes_from_when_it_is_due():
    assert chosen(new(0.1, 10), new(0.2, 180)) == (0, 1)  # 100 + 90 tokens by 0.2 s
    assert chosen(new(0.1, 10), new(0.2, 181)) in {(0,), (1,)}


def test_a_promise_is_kept_before_anybody_new():
    assert chosen(new(0.1, 60), old(0.1, 60)) == ()
    assert chosen(new(0.1, 40), old(0.1, 60)) == (0,)


def test_a_promise_that_is_lost_lets_nobody_in_before_it():
    assert chosen(new(0.1, 10), old(0.1, 500)) == ()
    assert chosen(old(0.1, 500), new(0.7, 10)) == (1,)  # 100 - 500 + 0.6 * 900 = 140 by then


def test_memory_is_asked_too():
    assert chosen(new(1.0, 10, blocks=5), new(1.0, 10, blocks=4), free_blocks=8) in {(0,), (1,)}
    assert chosen(new(1.0, 10, blocks=4), new(1.0, 10, blocks=4), free_blocks=8) == (0, 1)


def test_no_more_than_can_decode():
    assert len(chosen(new(1.0, 10), new(1.0, 10), old(1.0, 10), decodes=1, most_decodes=3)) == 1
    assert chosen(new(1.0, 10), old(1.0, 10), decodes=1, most_decodes=2) == ()


@given(
    drawn=st.lists(
        st.tuples(st.integers(0, 12), st.integers(1, 400), st.booleans()), min_size=1, max_size=7
    ),
    decodes=st.integers(0, 4),
)
def test_no_subset_serves_more(drawn, decodes):
    """Against all subsets, where memory does not bind and the promised can be in time."""
    candidates = sorted(
        Candidate(tenths / 10, tokens, 1, promised) for tenths, tokens, promised in drawn
    )
    fresh = [i for i, candidate in enumerate(candidates) if not candidate.promised]
    subsets = [set(s) for n in range(len(fresh) + 1) for s in combinations(fresh, n)]
    possible = [s for s in subsets if _in_time(candidates, s, decodes)]
    found = chosen(*candidates, decodes=decodes)
    if possible:
        assert set(found) in possible
        assert len(found) == max(map(len, possible))


def _in_time(candidates, accepted, decodes):
    surplus, before_s, running = 0.0, 0.0, decodes
    for i, candidate in enumerate(candidates):
        surplus += (candidate.due_s - before_s) * thousand_less_a_tenth_per_decode(running)
        before_s = candidate.due_s
        if candidate.promised or i in accepted:
            surplus -= candidate.tokens
            running += 1
            if surplus < 0:
                return False
    return True
