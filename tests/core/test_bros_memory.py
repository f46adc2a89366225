"""Who gives way for memory under BROS."""

import pytest
from bros_steps import BE, bros, replica_with, step, submit
from simulations import make_request

from bros_sim.engine.sequence import Sequence
from bros_sim.kv.bidirectional import BidirectionalKV
from bros_sim.kv.paged import PagedKV
from bros_sim.kv.parameters import BidirectionalParameters, PagedParameters
from bros_sim.schedulers.bros.queues import BrosQueues


def small(blocks: int) -> PagedKV:
    """So many blocks of four tokens for requests."""
    return PagedKV(
        PagedParameters(num_gpu_blocks=blocks + 1, block_size=4, enable_prefix_caching=False)
    )


def test_the_best_effort_seq_ranked_last_gives_way():
    replica = replica_with(kv=small(6))
    seqs = [submit(replica, number, cls=BE, prompt=7, output=9) for number in range(3)]
    now = 0.0
    for expected in ([0, 1, 2], [0, 1, 2], [0, 1]):
        members, now = step(replica, now)
        assert members == expected
    assert [seq.num_preemptions for seq in seqs] == [0, 0, 1]


def test_no_rt_pushes_out_one_that_is_due_before_it():
    """Late RT 0 comes last under ``demote``, and is yet the one that gets the memory."""
    replica = replica_with(bros(late_policy="demote"), small(4))
    urgent = submit(replica, 0, tpot=0.001, prompt=7, output=9)
    other = submit(replica, 1, tpot=1.0, prompt=7, output=9)
    now = 0.0
    for expected in ([0, 1], [0, 1], [0]):
        members, now = step(replica, now)
        assert members == expected
    assert (urgent.num_preemptions, other.num_preemptions) == (0, 1)


@pytest.mark.parametrize(("watermark", "expected"), [(0.0, [0, 1]), (0.2, [0])])
def test_waiting_best_effort_leaves_the_watermark_free(watermark: float, expected: list[int]):
    """Ten blocks, two of which RT 0 holds: BE 1 needs seven of the eight."""
    replica = replica_with(bros(watermark=watermark), small(10))
    submit(replica, 0, prompt=5, output=9)
    _, now = step(replica, 0.0)
    submit(replica, 1, cls=BE, prompt=28, at=now)
    assert step(replica, now)[0] == expected


def test_rt_need_not_leave_the_watermark_free():
    replica = replica_with(bros(watermark=0.2), small(10))
    submit(replica, 0, prompt=5, output=9)
    _, now = step(replica, 0.0)
    submit(replica, 1, prompt=28, at=now)
    assert step(replica, now)[0] == [0, 1]


def test_a_shorter_rt_gets_the_memory_that_a_longer_one_is_refused():
    """All are late; RT 1 needs more blocks than RT 0 leaves, RT 2 as many."""
    replica = replica_with(
        kv=BidirectionalKV(BidirectionalParameters(num_gpu_blocks=11, block_size=4))
    )
    submit(replica, 0, prompt=20, output=9)
    _, now = step(replica, 0.0)
    submit(replica, 1, ttft=0.001, prompt=24, at=0.0)
    submit(replica, 2, ttft=0.002, prompt=16, at=0.0)
    assert step(replica, now)[0] == [0, 2]


def test_who_would_give_way_in_vain_goes_on():
    """All that BE 1 holds is not enough for RT 2."""
    replica = replica_with(kv=small(8))
    submit(replica, 0, prompt=21, output=9)
    submit(replica, 1, cls=BE, prompt=5, output=9)
    _, now = step(replica, 0.0)
    submit(replica, 2, prompt=20, at=now)
    assert step(replica, now)[0] == [0, 1]


def test_best_effort_with_the_least_to_restore_comes_first():
    """RT 3 overwrites blocks of BE 1 alone."""
    kv = BidirectionalKV(BidirectionalParameters(num_gpu_blocks=7, block_size=4))
    first, second = (
        Sequence(number, make_request(prompt=99, service_class=BE), 0.0) for number in (1, 2)
    )
    for seq in (first, second):
        assert kv.admit(seq, 12, (), must_fit=0, spare=0)
        kv.commit()
        kv.advance(0)
        seq.compute(12)
    assert BrosQueues.be_order(kv, [second, first]) == [first, second]
    rt = Sequence(3, make_request(prompt=99), 0.0)
    assert kv.admit(rt, 8, (), must_fit=0, spare=0, lenders=[first, second])
    assert BrosQueues.be_order(kv, [first, rt, second]) == [second, first]
