"""The bidirectional KV manager rule by rule, and swapping to the CPU in both managers."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from components import any_requests
from hypothesis import given, settings
from hypothesis import strategies as st
from simulations import UNEVEN, WORLD, make_replica, make_request, run

from bros_sim.core.errors import LawBroken
from bros_sim.core.request import ServiceClass
from bros_sim.engine.kv_cache import Direction, KVManager
from bros_sim.engine.sequence import Sequence
from bros_sim.kv.bidirectional import BidirectionalKV
from bros_sim.kv.paged import PagedKV
from bros_sim.kv.parameters import BidirectionalParameters, KvParameters, PagedParameters
from bros_sim.schedulers.vllm import VllmScheduler
from bros_sim.schedulers.vllm_parameters import VllmParameters

RT, BE = ServiceClass.RT, ServiceClass.BE
OUT, IN = Direction.TO_CPU, Direction.TO_GPU


def seq(seq_id: int, service_class: ServiceClass, tokens: int = 100) -> Sequence:
    return Sequence(
        seq_id, make_request(prompt=tokens, output=50, service_class=service_class), 0.0
    )


def pending(kv: KVManager, member: Sequence, tokens: int) -> Sequence:
    """The request computed ``tokens`` tokens and is not in the coming iteration."""
    assert kv.admit(member, tokens, (), must_fit=0, spare=0)
    kv.commit()
    kv.advance(0)
    member.compute(tokens)
    return member


def ask(kv: KVManager, member: Sequence, tokens: int, *lenders: Sequence) -> bool:
    return kv.admit(member, tokens, (), must_fit=0, spare=0, lenders=lenders)


def copies(kv: KVManager) -> list[tuple[Direction, int, int, int]]:
    kv.commit()
    kv.advance(0)
    return [(c.direction, c.seq.id, c.tokens, c.blocks) for c in kv.take_copies()]


def sharing(kv: BidirectionalKV) -> list[tuple[int, int, int, int]]:
    """(Real-time request, its block, best-effort request, its block) of shared blocks."""
    held = [x for x in kv._holdings.values() if x.real_time]
    return [
        (x.seq.id, index, block.be.seq.id, block.be_index)
        for x in held
        for index, block in sorted(x.shared.items())
    ]


def test_free_blocks_come_first_then_gaps_then_full_blocks_the_newest_first():
    kv = BidirectionalKV(BidirectionalParameters(num_gpu_blocks=9, block_size=4))
    a, b = pending(kv, seq(1, BE), 9), pending(kv, seq(2, BE), 15)  # 3 blocks each 4
    rt = seq(3, RT)
    assert ask(kv, rt, 17, a, b)  # 1 free, gap of a (3 slots), gap of b (1 slot), 2 of a
    assert kv.free_blocks == 0
    assert sharing(kv) == [(3, 1, 1, 2), (3, 2, 2, 3), (3, 3, 1, 1), (3, 4, 1, 0)]
    # a loses 1 + 4 tokens, and 1 of the 4 of the block into which the 17th token goes
    assert sorted(copies(kv)) == sorted([(OUT, 1, 1, 0), (OUT, 2, 3, 0), (OUT, 1, 5, 0)])
    assert [kv.blocks_to_restore(x) for x in (a, b)] == [3, 1]


def test_only_the_slots_about_to_be_written_are_checkpointed():
    kv = BidirectionalKV(BidirectionalParameters(num_gpu_blocks=2, block_size=16))
    be, rt = pending(kv, seq(1, BE), 10), seq(2, RT)
    assert ask(kv, rt, 6, be)
    assert copies(kv) == []
    rt.compute(6)
    assert kv.extend(rt, 9)  # not a lender any more, but outside the cohort
    assert copies(kv) == [(OUT, 1, 3, 0)]


def test_restored_in_place_once_the_real_time_seq_is_gone():
    kv = BidirectionalKV(BidirectionalParameters(num_gpu_blocks=2, block_size=16))
    be, rt = pending(kv, seq(1, BE), 10), seq(2, RT)
    assert ask(kv, rt, 8, be)
    assert copies(kv) == [(OUT, 1, 2, 0)]
    assert not kv.extend(be, 11)
    kv.release(rt, resumable=False)
    assert kv.blocks_to_restore(be) == 1
    assert kv.extend(be, 11)
    assert copies(kv) == [(IN, 1, 2, 0)]
    assert (kv.relocated_blocks(be), kv.free_blocks) == (0, 0)


def test_moves_to_a_free_block_while_the_real_time_seq_stays():
    kv = BidirectionalKV(BidirectionalParameters(num_gpu_blocks=3, block_size=16))
    be, other = pending(kv, seq(1, BE), 10), pending(kv, seq(2, BE), 16)
    rt = seq(3, RT)
    assert ask(kv, rt, 8, be)
    assert copies(kv) == [(OUT, 1, 2, 0)]
    kv.release(other, resumable=False)
    assert kv.extend(be, 11)
    assert copies(kv) == [(IN, 1, 2, 0)]
    assert (kv.relocated_blocks(be), kv.free_blocks, sharing(kv)) == (1, 0, [])


def test_a_best_effort_seq_grows_in_its_gap_beside_a_lodger():
    kv = BidirectionalKV(BidirectionalParameters(num_gpu_blocks=2, block_size=16))
    be, rt = pending(kv, seq(1, BE), 8), seq(2, RT)
    assert ask(kv, rt, 7, be)
    kv.commit()
    kv.advance(0)
    assert kv.extend(be, 9)
    assert not kv.extend(be, 10)
    assert copies(kv) == []


def test_what_is_in_the_coming_iteration_lends_nothing():
    kv = BidirectionalKV(BidirectionalParameters(num_gpu_blocks=2, block_size=16))
    be = pending(kv, seq(1, BE), 8)
    mark = kv.mark()
    assert kv.extend(be, 9)
    assert not ask(kv, seq(2, RT), 4, be)
    kv.rollback(mark)
    assert ask(kv, seq(2, RT), 4, be)


def test_best_effort_and_its_spare_take_free_blocks_alone():
    kv = BidirectionalKV(BidirectionalParameters(num_gpu_blocks=4, block_size=4))
    be, new = pending(kv, seq(1, BE), 5), seq(2, BE)
    assert not kv.admit(new, 4, (), must_fit=0, spare=1, lenders=[be])
    assert not kv.admit(new, 4, (), must_fit=5, spare=0, lenders=[be])
    assert kv.admit(new, 4, (), must_fit=4, spare=0)


def test_a_full_cpu_lends_like_full_memory():
    kv = BidirectionalKV(BidirectionalParameters(num_gpu_blocks=3, block_size=4, cpu_blocks=1))
    be = pending(kv, seq(1, BE), 8)
    assert not ask(kv, seq(2, RT), 5, be)
    assert ask(kv, seq(2, RT), 4, be)
    assert not kv.swap_out(be)


def test_a_stretch_ends_where_two_seqs_meet():
    kv = BidirectionalKV(BidirectionalParameters(num_gpu_blocks=2, block_size=16))
    clock = SimpleNamespace(iteration=0, last_end_s=0.0)
    be, rt = pending(kv, seq(1, BE, 6), 6), seq(2, RT, 4)
    assert ask(kv, rt, 4, be)
    kv.advance(1)
    rt.compute(4)
    for member in (rt, be):
        kv.join(member)
        member.join(clock)
    assert kv.extend_decodes()
    kv.commit()
    assert kv.spare_iterations() == 2  # 6 slots, two a time
    clock.iteration += 3
    kv.advance(3)
    assert not kv.extend_decodes()
    assert not kv.extend(rt, 8)  # no lender, in the cohort, and nowhere to go
    assert kv.extend(rt, 8, lenders=[be])
    assert copies(kv) == [(OUT, 1, 1, 0)]


def test_nobody_pays_for_copies_of_a_seq_that_is_dropped_in_the_same_draft():
    kv = BidirectionalKV(BidirectionalParameters(num_gpu_blocks=2, block_size=4))
    be = pending(kv, seq(1, BE), 4)
    assert ask(kv, seq(2, RT), 3, be)
    kv.release(be, resumable=True)
    assert copies(kv) == []


@pytest.mark.parametrize("kind", [PagedParameters, BidirectionalParameters])
def test_swapped_out_and_back(kind: type[KvParameters]):
    kv = kind(num_gpu_blocks=4, block_size=4, cpu_blocks=2).make(WORLD)
    member = pending(kv, seq(1, RT), 6)
    mark = kv.mark()
    assert kv.swap_out(member)
    assert kv.swap_out(member)
    kv.rollback(mark)
    assert (kv.free_blocks, kv.blocks_to_restore(member), copies(kv)) == (1, 0, [])
    assert kv.swap_out(member)
    assert copies(kv) == [(OUT, 1, 6, 2)]
    assert (kv.free_blocks, kv.blocks_to_restore(member)) == (3, 2)
    assert not kv.swap_out(pending(kv, seq(2, BE), 3))
    kv.check([member, seq(2, BE)])
    assert not kv.extend(member, 9)
    assert kv.extend(member, 7)
    assert copies(kv) == [(IN, 1, 6, 2)]
    assert (kv.free_blocks, kv.blocks_to_restore(member)) == (0, 0)
    kv.check([member, seq(2, BE)])


@pytest.mark.parametrize("kind", [PagedParameters, BidirectionalParameters])
def test_a_cohort_member_swapped_out_has_left_the_cohort(kind: type[KvParameters]):
    kv = kind(num_gpu_blocks=4, block_size=4, cpu_blocks=2).make(WORLD)
    member = pending(kv, seq(1, RT, 4), 4)
    kv.join(member)
    member.join(SimpleNamespace(iteration=0, last_end_s=0.0))
    assert kv.swap_out(member)
    assert not kv.extend(member, 5)
    kv.commit()
    kv.leave(member)
    member.leave()
    kv.advance(1)
    assert kv.extend_decodes()
    assert kv.free_blocks == 3
    assert kv.admit(member, 5, (), must_fit=0, spare=1)
    kv.commit()
    kv.check([member])
    kv.release(member, resumable=False)
    assert kv.free_blocks == 3


@pytest.mark.parametrize("kind", [PagedParameters, BidirectionalParameters])
def test_what_is_on_the_cpu_can_be_dropped(kind: type[KvParameters]):
    kv = kind(num_gpu_blocks=4, block_size=4, cpu_blocks=2).make(WORLD)
    member = pending(kv, seq(1, RT), 8)
    assert kv.swap_out(member)
    kv.release(member, resumable=True)
    assert copies(kv) == []
    kv.check([])
    assert kv.swap_out(pending(kv, seq(2, RT), 8))


def _lose_a_block(kv: BidirectionalKV) -> None:
    kv.free_blocks -= 1


def _lose_a_seq(kv: BidirectionalKV) -> None:
    kv._holdings.clear()


def _lose_a_token(kv: BidirectionalKV) -> None:
    kv._cpu._shift(1, -1)


def _overwrite_one_more(kv: BidirectionalKV) -> None:
    kv._holdings[2].tokens += 1


def _forget_the_lodger(kv: BidirectionalKV) -> None:
    kv._holdings[1].shared[0].rt = None


@pytest.mark.parametrize(
    "fault", [_lose_a_block, _lose_a_seq, _lose_a_token, _overwrite_one_more, _forget_the_lodger]
)
def test_the_check_sees_a_broken_manager(fault: Callable[[BidirectionalKV], None]):
    kv = BidirectionalKV(BidirectionalParameters(num_gpu_blocks=2, block_size=16))
    be, rt = pending(kv, seq(1, BE), 10), seq(2, RT)
    assert ask(kv, rt, 8, be)
    kv.commit()
    kv.check([be, rt])
    fault(kv)
    with pytest.raises(LawBroken, match="L4"):
        kv.check([be, rt])


@settings(max_examples=60)
@given(any_requests(), st.integers(12, 40), st.sampled_from([1, 2, 4, 16]))
def test_under_a_scheduler_that_never_lends_it_is_a_plain_paged_cache(requests, blocks, size):
    tables = [
        run(
            requests,
            make_replica(
                scheduler=VllmScheduler(VllmParameters(policy="priority")),
                kv=kv,
                latency=UNEVEN,
                max_model_len=100,
            ),
        )
        for kv in (
            PagedKV(PagedParameters(blocks, size, enable_prefix_caching=False)),
            BidirectionalKV(BidirectionalParameters(blocks, size)),
        )
    ]
    assert tables[0].requests.equals(tables[1].requests)
    assert tables[0].steps.equals(tables[1].steps)
