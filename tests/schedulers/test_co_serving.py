"""`hygen` and `conserve_like`, rule by rule: plans written out by hand."""

import pytest
from plan_by_plan import BE, RT, Scripted
from simulations import make_replica, make_request, run

from bros_sim.core.request import Slo
from bros_sim.engine.reasons import BUDGET, DEADLINE, MEMORY
from bros_sim.engine.sequence import Sequence
from bros_sim.kv.eager_checkpoint import EagerCheckpointKV
from bros_sim.kv.paged import PagedKV
from bros_sim.kv.parameters import EagerCheckpointParameters, PagedParameters
from bros_sim.latency.parameters import DecodeLine, Linear
from bros_sim.schedulers.co_serving import ConserveLikeParameters, ConserveLikeScheduler
from bros_sim.schedulers.hygen import HygenParameters, HygenScheduler, PrefixQueue


def hygen(budget_s=None, *, tokens=2048, seqs=256, fairness=0.0) -> HygenScheduler:
    return HygenScheduler(HygenParameters(tokens, seqs, budget_s, fairness))


def decoding(script: Scripted, *seqs) -> None:
    """Submit (number, class) and let them all decode, whatever that takes."""
    for number, cls in seqs:
        script.submit(number, 10, cls=cls)
    while sum(seq.decoding for seq in script.replica.batch) < len(seqs):
        script.plan()


def test_online_prompts_come_first_though_they_came_last():
    script = Scripted(hygen(tokens=100))
    script.submit(1, 60, cls=BE)
    script.submit(2, 50)
    script.submit(3, 30)
    assert script.plan().chunks == {2: 50, 3: 30, 1: 20}


def test_offline_prompts_are_cut_to_the_latency_budget():
    """A decode takes 11 ms; 39 prompt tokens are within 50 ms."""
    script = Scripted(hygen(0.050))
    decoding(script, (1, RT))
    script.submit(2, 60, cls=BE)
    script.submit(3, 60, cls=BE)
    first = script.plan()
    assert (first.chunks, first.decodes, first.seconds) == ({2: 39}, [1], 0.05)
    assert first.why == {3: DEADLINE}
    assert script.plan().chunks == {2: 21, 3: 18}


def test_the_budget_binds_no_online_request():
    script = Scripted(hygen(0.020))
    decoding(script, (1, RT), (2, BE))
    script.submit(3, 80)
    plan = script.plan()
    assert (plan.chunks, plan.decodes, plan.paused) == ({3: 80}, [1], [2])
    assert plan.why == {2: DEADLINE}


def test_offline_decodes_beyond_the_budget_pause_the_last_first_and_come_back():
    """1 + n decodes within 13.5 ms: two of the three offline ones."""
    script = Scripted(hygen(0.0135))
    decoding(script, (2, BE), (3, BE), (4, BE))
    script.submit(1, 10, output=3)
    plan = script.plan()
    assert (plan.chunks, plan.decodes, plan.paused) == ({1: 10}, [], [2, 3, 4])
    plan = script.plan()  # the online request decodes; they come back as chunks of one token
    assert (plan.chunks, plan.decodes, plan.why) == ({2: 1, 3: 1}, [1], {4: DEADLINE})
    plan = script.plan()  # its last token
    assert (plan.chunks, plan.decodes, plan.why) == ({}, [1, 2, 3], {4: DEADLINE})
    assert script.plan().chunks == {4: 1}


def test_offline_decodes_get_no_token_that_online_prompts_need():
    script = Scripted(hygen(10.0, tokens=20, seqs=20))
    decoding(script, (1, BE), (2, BE))
    script.submit(3, 39)
    plan = script.plan()
    assert (plan.chunks, plan.paused, plan.why) == ({3: 20}, [1, 2], {1: BUDGET, 2: BUDGET})
    assert script.plan().chunks == {3: 19, 1: 1}


def test_by_default_the_budget_is_the_tightest_tpot_target_seen():
    script = Scripted(hygen())
    script.submit(1, 30, cls=BE)
    assert script.plan().chunks == {1: 30}
    script.submit(2, 10, output=1, ttft_s=1.0, tpot_s=0.040)
    script.submit(3, 10, output=1, ttft_s=1.0, tpot_s=0.060)
    script.plan()
    script.submit(4, 90, cls=BE)  # nobody online is left; 11 ms for the decode of 1
    plan = script.plan()
    assert (plan.chunks, plan.decodes) == ({4: 29}, [1])


def test_online_requests_take_memory_from_the_last_offline_one():
    script = Scripted(hygen(), blocks=6)
    decoding(script, (1, BE), (2, BE))
    script.submit(3, 70, output=5)
    plan = script.plan()
    assert (plan.evicted, plan.chunks, plan.decodes) == ([2], {3: 70}, [1])
    assert plan.why == {2: MEMORY}


def test_online_requests_take_the_seat_of_an_offline_one():
    script = Scripted(hygen(seqs=2))
    decoding(script, (1, RT), (2, BE))
    script.submit(3, 10)
    script.submit(4, 10)
    plan = script.plan()
    assert (plan.evicted, plan.chunks, plan.decodes) == ([2], {3: 10}, [1])


def test_the_offline_decodes_that_pause_are_the_last_ones():
    """10 ms for the prompt, 10 + n ms for n decodes: five of six are within 25.5 ms."""
    script = Scripted(hygen(0.0255))
    decoding(script, *((number, BE) for number in range(2, 8)))
    script.submit(1, 10)
    plan = script.plan()
    assert (plan.chunks, plan.decodes, plan.paused) == ({1: 10}, [2, 3, 4, 5, 6], [7])


def test_what_an_online_prompt_finds_in_the_cache_costs_no_time():
    """A decode and the 23 tokens that are left are within 35 ms, with all 39 they would not be."""
    script = Scripted(hygen(0.035), kv=PagedKV(PagedParameters(4000)))
    script.submit(1, 20, cls=BE, prefix=(7,))
    script.plan()
    script.submit(2, 39, prefix=(7,))
    plan = script.plan()
    assert (plan.chunks, plan.cached, plan.decodes) == ({2: 23}, {2: 16}, [1])


def test_offline_prompts_under_way_go_before_those_that_wait():
    script = Scripted(ConserveLikeScheduler(ConserveLikeParameters(max_num_batched_tokens=100)))
    script.submit(2, 150, cls=BE)
    script.plan()
    script.submit(1, 100, cls=BE)
    assert script.plan().chunks == {2: 50, 1: 50}


LONG = Linear(
    prefill_per_token_ms=1.0, decode=DecodeLine(const_ms=10.0, per_kv_token_ms=0.01)
).make()
"""1,000 tokens of context cost 10 ms."""


def test_the_context_of_who_pauses_makes_room_for_others():
    """Both offline contexts take 30 ms; one of them and the prompt, 22 ms, leave three tokens."""
    script = Scripted(hygen(), latency=LONG)
    script.submit(2, 1000, cls=BE)
    script.submit(3, 1000, cls=BE)
    script.plan()
    script.submit(1, 2, output=9, ttft_s=1.0, tpot_s=0.0255)
    script.submit(4, 50, cls=BE)
    plan = script.plan()
    assert (plan.chunks, plan.decodes, plan.paused) == ({1: 2, 4: 3}, [2], [3])


def test_a_stretch_ends_before_the_growing_context_takes_too_long():
    """10 ms + 0.01 ms * (1012 + 2 i) is within 21 ms for 45 iterations, one by one or at once."""
    requests = [
        make_request(0, prompt=1000, output=200, service_class=BE),
        make_request(1, prompt=10, output=200, arrival_s=0.5, slo=Slo(1.0, 0.021)),
    ]
    one_by_one, at_once = (
        run(requests, make_replica(scheduler=hygen(), latency=LONG, longest_stretch=longest))
        for longest in (1, 4096)
    )
    assert one_by_one.steps.equals(at_once.steps)
    assert one_by_one.requests.equals(at_once.requests)
    decodes = at_once.steps[["prefill_tokens", "decode_jobs", "repeat"]].to_numpy().tolist()
    assert decodes == [[1000, 0, 1], [10, 0, 1], [0, 2, 45], [0, 1, 154], [0, 1, 154]]


# -- the order of offline requests ----------------------------------------------------------------


def queue(fairness: float, *prefixes: tuple[int, ...]) -> PrefixQueue:
    line = PrefixQueue(fairness)
    script = Scripted(hygen())
    for number, prefix in enumerate(prefixes):
        seq = script.submit(number, 64, cls=BE, prefix=prefix)
        line.push(seq, ())
    line.sort_in(16)
    return line


def drawn(line: PrefixQueue) -> list[int]:
    expected = [seq.id for seq in line]
    for place, number in enumerate(expected):
        assert len(line) == len(expected) - place
        assert [seq.id for seq in line] == expected[place:]
        assert line.pop().id == number
    assert not len(line)
    assert not len(line._by_prefix)
    assert not len(line._by_age)
    return expected


def test_requests_that_share_a_prefix_follow_each_other():
    a, b = (1, 2), (5,)
    line = queue(0.0, (*a, 3), b, (*a, 4), (), (1, 9), (*b, 6), (*a, 3))
    assert drawn(line) == [0, 6, 2, 4, 1, 5, 3]


def test_without_shared_prefixes_the_first_comes_first():
    assert drawn(queue(0.0, (), (), ())) == [0, 1, 2]


@pytest.mark.parametrize(
    ("fairness", "order"),
    [(0.5, [0, 1, 2, 3, 4, 5]), (0.34, [0, 2, 1, 4, 5, 3]), (1.0, [0, 1, 2, 3, 4, 5])],
)
def test_a_share_of_them_is_the_oldest(fairness, order):
    """Evens share a prefix, but for 5, and odds none."""
    line = queue(fairness, (1,), (), (1,), (), (1,), (1,))
    assert drawn(line) == order


def test_who_is_preempted_goes_back_to_its_place():
    line = queue(0.0, (1,), (2,), (1,))
    first = line.pop()
    line.push(first, ())
    assert [seq.id for seq in line] == [2, 1, 0]  # until the next plan
    assert len(line) == 3
    line.sort_in(16)
    assert drawn(line) == [0, 2, 1]
    assert line.places[first.id] == (1,)


def test_so_does_one_that_shares_nothing():
    line = queue(0.0, (), ())
    line.push(line.pop(), ())
    line.sort_in(16)
    assert drawn(line) == [0, 1]


def test_the_last_in_that_order_gives_way_and_who_has_finished_is_forgotten():
    script = Scripted(hygen(), kv=PagedKV(PagedParameters(8)))
    for number, prefix in ((1, 5), (2, 6), (3, 5)):
        script.submit(number, 17, output=2, cls=BE, prefix=(prefix,))
    script.plan()
    script.submit(4, 40, output=2)
    assert script.plan().evicted == [2]
    while list(script.replica.batch):
        script.plan()
    assert script.scheduler._waiting.places == {}


def test_online_requests_come_before_all_of_them():
    line = queue(0.0, (), ())
    script = Scripted(hygen())
    line.push(script.submit(9, 10), (0,))
    assert drawn(line) == [9, 0, 1]


# -- ConServe -------------------------------------------------------------------------------------


def test_beside_online_requests_their_tightest_tpot_target_bounds_the_iteration():
    script = Scripted(ConserveLikeScheduler(ConserveLikeParameters()))
    script.submit(1, 10, output=3, ttft_s=1.0, tpot_s=0.0305)
    script.submit(2, 10, output=20, ttft_s=1.0, tpot_s=0.0505)
    script.plan()
    script.submit(3, 500, cls=BE)
    assert script.plan().chunks == {3: 18}  # 12 ms + 18 ms
    assert script.plan().chunks == {3: 18}
    assert script.plan().chunks == {3: 39}  # the first one has finished: 11 ms + 39 ms


def test_without_online_requests_a_share_of_the_tightest_ttft_target_does():
    script = Scripted(ConserveLikeScheduler(ConserveLikeParameters(offline_ttft_share=0.25)))
    script.submit(3, 3000, cls=BE)
    assert script.plan().chunks == {3: 2048}  # nobody was ever in a hurry
    script.submit(1, 10, output=1, ttft_s=0.4, tpot_s=0.030)
    script.submit(2, 10, output=1, ttft_s=0.8, tpot_s=0.030)
    assert script.plan().chunks == {1: 10, 2: 10, 3: 10}
    assert script.plan().chunks == {3: 100}


def test_preempted_offline_requests_go_on_from_their_checkpoint():
    kv = EagerCheckpointKV(
        EagerCheckpointParameters(8, 16, enable_prefix_caching=False, cpu_blocks=100)
    )
    script = Scripted(ConserveLikeScheduler(ConserveLikeParameters()), kv=kv)
    script.submit(1, 70, output=9, cls=BE)  # 5 of 7 blocks
    script.plan()
    script.plan()
    online = script.submit(2, 60, output=2)  # 4 blocks
    assert script.plan().evicted == [1]
    plan = script.plan()
    assert (plan.chunks, plan.decodes) == ({}, [2])
    plan = script.plan()
    assert (plan.cached, plan.chunks) == ({1: 64}, {1: 8})
    assert online.num_preemptions == 0


def test_the_offline_request_that_came_last_gives_way():
    script = Scripted(ConserveLikeScheduler(ConserveLikeParameters()), blocks=6)
    seqs: list[Sequence] = [script.submit(number, 10, cls=BE) for number in (1, 2, 3)]
    script.plan()
    script.submit(4, 60, output=5)
    assert script.plan().evicted == [3]
    assert [seq.num_preemptions for seq in seqs] == [0, 0, 1]
