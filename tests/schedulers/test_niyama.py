"""`niyama`, rule by rule: plans written out by hand."""

import math
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_by_plan import BE, PER_TOKEN, Scripted
from simulations import UNEVEN, make_replica, make_request, run

from bros_sim.core.request import ServiceClass, Slo
from bros_sim.engine.reasons import BUDGET
from bros_sim.engine.scheduler import ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.kv.paged import PagedKV
from bros_sim.kv.parameters import PagedParameters
from bros_sim.latency.parameters import DecodeLine, Linear
from bros_sim.schedulers.niyama import DecodeSlack, NiyamaParameters, NiyamaScheduler

RELAXED = {"ttft_s": 100.0, "tpot_s": 100.0}


def niyama(**options) -> NiyamaScheduler:
    return NiyamaScheduler(NiyamaParameters(**({"alpha_s": 0.0, "safety": 1.0} | options)))


def decoding(scheduler=None, **slo) -> Scripted:
    """Request 1 decodes; its second token is due a TPOT after its first, 0.01 s after its start."""
    script = Scripted(scheduler or niyama())
    script.submit(1, 10, **slo)
    assert script.plan().chunks == {1: 10}
    return script


# -- dynamic chunks --------------------------------------------------------------------------------


def test_without_decodes_the_iteration_is_as_large_as_the_grid_allows():
    script = Scripted(niyama())
    script.submit(1, 3000, **RELAXED)
    assert script.plan().chunks == {1: 2552}


@pytest.mark.parametrize(
    ("tpot_s", "tokens"),
    [(0.530, 512), (0.520, 256), (0.150, 128), (0.130, 128), (0.001, 128), (9.0, 2552)],
)
def test_the_chunk_is_the_largest_that_the_tightest_decode_bears(tpot_s, tokens):
    """The first token came when it was due. A decode takes 11 ms, a prompt token 1 ms."""
    script = decoding(ttft_s=0.010, tpot_s=tpot_s)
    script.submit(2, 4000, **RELAXED)
    plan = script.plan()
    assert (plan.chunks, plan.decodes) == ({2: tokens - 1}, [1])


def test_predicted_times_are_taken_with_a_margin():
    script = decoding(niyama(safety=1.2), ttft_s=0.010, tpot_s=0.530)
    script.submit(2, 4000, **RELAXED)
    assert script.plan().chunks == {2: 255}  # 1.2 * 266 ms; 522 ms would do without


def test_a_decode_that_is_ahead_of_its_deadlines_lends_its_slack():
    script = decoding(ttft_s=0.410, tpot_s=0.130)
    script.submit(2, 4000, **RELAXED)
    assert script.plan().chunks == {2: 511}  # due 0.53 s after now
    assert script.plan().chunks == {2: 127}


def test_after_a_late_first_token_the_others_count_from_it():
    script = Scripted(niyama())
    script.submit(1, 1000, ttft_s=0.5, tpot_s=0.280)
    script.plan()  # the first token comes at 1.0 s
    script.submit(2, 4000, **RELAXED)
    assert script.plan().chunks == {2: 255}


def test_little_free_memory_halves_the_grid():
    script = Scripted(niyama(), blocks=1999)
    script.submit(1, 3000, **RELAXED)
    assert script.plan().chunks == {1: 512}


def test_what_the_first_prompt_has_computed_counts():
    """Squares of the context: 1 us per token and token before it."""
    latency = Linear(prefill_per_token2_ms=0.001, decode=DecodeLine(10.0, 1.0)).make()
    script = Scripted(niyama(), latency=latency)
    script.submit(1, 1, ttft_s=0.01, tpot_s=0.280)
    script.submit(2, 4000, **RELAXED)
    assert script.plan().chunks == {1: 1, 2: 2551}
    assert script.plan().chunks == {2: 127}  # without those 2551 there was time for 511


def test_at_the_end_of_the_grid_the_limit_holds():
    script = Scripted(niyama(max_num_batched_tokens=300))
    script.submit(1, 3000, **RELAXED)
    assert script.plan().chunks == {1: 256}
    small = Scripted(niyama(max_num_batched_tokens=100, max_num_seqs=100))
    small.submit(1, 3000, **RELAXED)
    assert small.plan().chunks == {1: 100}


# -- order -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha_s", "first"), [(0.0, 1), (0.008, 2)])
def test_order_is_between_deadlines_and_remaining_work(alpha_s, first):
    """1 is due 1 s earlier and has 200 tokens more: 1.6 s at 8 ms each."""
    script = Scripted(niyama(alpha_s=alpha_s, max_num_batched_tokens=256))
    script.submit(1, 400, ttft_s=50.0)
    script.submit(2, 200, ttft_s=51.0)
    assert next(iter(script.plan().chunks)) == first


def test_what_a_prompt_has_computed_does_not_count_against_it():
    """At 8 ms each 244 tokens are 0.2 s ahead of 400 that are due 1 s earlier; 500 are not."""
    script = Scripted(niyama(alpha_s=0.008, max_num_batched_tokens=256))
    script.submit(1, 500, ttft_s=50.0)
    assert script.plan().chunks == {1: 256}
    script.submit(2, 400, ttft_s=49.0 - script.now)
    assert script.plan().chunks == {1: 244, 2: 12}


def test_who_is_overtaken_keeps_its_chunks():
    script = Scripted(niyama(max_num_batched_tokens=256))
    script.submit(1, 400, ttft_s=50.0)
    assert script.plan().chunks == {1: 256}
    script.submit(2, 256, ttft_s=40.0)
    plan = script.plan()
    assert (plan.chunks, plan.evicted, plan.why) == ({2: 256}, [], {1: BUDGET})
    assert script.plan().chunks == {1: 144}


def test_an_end_to_end_target_leaves_time_for_the_expected_output():
    """max_tokens is 20: 8 s of output, so the first token is due 2 s after the arrival."""
    script = Scripted(niyama())
    script.submit(1, 256, output=10, ttft_s=3.0)
    script.submit(2, 256, output=10, cls=BE, e2e_s=10.0)
    script.submit(3, 256, output=10, ttft_s=1.0)
    assert list(script.plan().chunks) == [3, 2, 1]


def test_its_decodes_have_the_time_per_token_of_a_batch():
    script = decoding(niyama(batch_tpot_s=0.3), e2e_s=30.01, cls=BE)
    assert script.scheduler._slack.due_s() == math.inf  # known with the next plan
    script.submit(2, 4000, **RELAXED)
    script.plan()
    assert script.scheduler._slack.due_s() == pytest.approx(0.01 + 2 * 0.3)


def test_the_oracle_replaces_the_cap():
    scheduler = niyama(lengths="oracle", max_num_batched_tokens=256)
    script = Scripted(scheduler)
    script.submit(1, 256, output=10, ttft_s=3.0)
    script.submit(2, 256, output=10, cls=BE, e2e_s=10.0)  # due after 10 - 4 s
    assert script.plan().chunks == {1: 256}


# -- relegation ------------------------------------------------------------------------------------


def test_who_could_not_be_in_time_is_served_after_all_others():
    """A prompt token takes 1 ms."""
    script = Scripted(niyama(max_num_batched_tokens=256))
    script.submit(1, 400, ttft_s=0.3)  # late whatever comes
    script.submit(2, 256, ttft_s=5.0)
    script.submit(3, 256, cls=BE)
    script.submit(4, 256, ttft_s=9.0)
    assert [script.plan().chunks for _ in range(5)] == [
        {2: 256}, {4: 255}, {4: 1, 1: 254}, {1: 146, 3: 108}, {3: 148},
    ]  # fmt: skip


def test_relegation_is_for_good_and_only_for_those_who_have_not_started():
    script = Scripted(niyama(max_num_batched_tokens=256))
    script.submit(1, 500, ttft_s=0.6)
    assert script.plan().chunks == {1: 256}
    script.submit(2, 256, ttft_s=0.30)  # comes first, and makes 1 late
    assert script.plan().chunks == {2: 256}
    script.submit(3, 100, ttft_s=0.05)
    plan = script.plan()
    assert (plan.chunks, plan.decodes) == ({1: 244, 3: 11}, [2])
    assert script.scheduler._relegated == {3}
    script.submit(4, 400, ttft_s=50.0)
    plan = script.plan()
    assert (plan.chunks, plan.why) == ({4: 254}, {3: BUDGET})


def test_only_who_is_in_line_is_looked_at():
    script = Scripted(niyama(max_num_batched_tokens=256))
    script.submit(1, 256, ttft_s=1.0)
    script.submit(2, 10, ttft_s=1.05)
    script.submit(3, 2000, ttft_s=1.1)
    script.plan()
    assert script.scheduler._relegated == set()
    script.plan()
    assert script.scheduler._relegated == {3}


def test_who_had_a_token_in_time_is_not_relegated_when_recomputed():
    script = Scripted(niyama(), blocks=4)
    for number in (1, 2):
        script.submit(number, 30, output=8, ttft_s=0.07, tpot_s=0.1)
    while not script.plan().evicted:
        pass
    script.plan()
    assert script.now > 0.07
    assert script.scheduler._relegated == set()


def test_a_head_without_memory_is_relegated_when_its_time_has_come():
    """From 0.3 s on, 170 ms are too few for 170 tokens; then the one behind it fits."""
    requests = [
        make_request(0, prompt=100, output=60, slo=Slo(9.0, 9.0)),
        make_request(1, prompt=170, output=5, arrival_s=0.11, slo=Slo(0.36, 9.0)),
        make_request(2, prompt=20, output=5, arrival_s=0.11, slo=Slo(5.0, 9.0)),
    ]
    one_by_one, at_once = (
        run(requests, make_replica(
            scheduler=niyama(), latency=PER_TOKEN, longest_stretch=longest,
            kv=PagedKV(PagedParameters(16, enable_prefix_caching=False)),
        ))
        for longest in (1, 4096)
    )  # fmt: skip
    assert one_by_one.requests.equals(at_once.requests)
    assert 0.3 < at_once.requests["first_token_s"][2] < 0.35
    assert at_once.requests["first_token_s"][1] > at_once.requests["last_token_s"][0]


def test_who_has_finished_is_forgotten():
    script = Scripted(niyama())
    script.submit(1, 100, output=2, ttft_s=0.05, tpot_s=1.0)
    script.submit(2, 100, output=1, ttft_s=0.3, tpot_s=0.1)
    for _ in range(2):
        script.plan()
    assert script.scheduler._relegated == set()
    script.submit(3, 100, ttft_s=0.3, tpot_s=1.0)
    script.plan()
    assert script.scheduler._slack.due_s() == math.inf


def test_when_the_tightest_decode_leaves_the_next_one_is():
    slack = DecodeSlack()
    seqs = [SimpleNamespace(id=i, last_token_s=0.0, num_output=1) for i in range(4)]
    due = dict(enumerate((5.0, 9.0, 6.0, 4.0)))
    slack.starts = seqs
    slack.join(lambda seq: due[seq.id], lambda seq: 2.0 if seq.id < 3 else 3.0)
    assert slack.due_s() == 7.0
    for gone, left in ((0, 7.0), (3, 8.0), (2, 11.0), (1, math.inf)):
        slack.leave(seqs[gone])
        assert slack.due_s() == left


def test_throughput_is_a_slow_moving_average_of_what_prompts_took():
    script = Scripted(niyama())
    script.submit(1, 3000, **RELAXED)
    script.plan()
    throughput = script.scheduler._throughput
    assert throughput.tokens_s == pytest.approx(1000.0)
    script.now += 2.552  # as if that iteration had taken twice as long
    script.plan()
    assert throughput.tokens_s == pytest.approx(0.995 * 1000 + 0.005 * 500)
    script.plan()
    before = throughput.tokens_s
    script.plan()  # decodes alone teach nothing
    script.plan()
    assert throughput.tokens_s == before


# -- the tightest decode, against a walk over all of them ------------------------------------------


class Walking(NiyamaScheduler):
    """Compares, in each plan, the due time that it knows with what a walk over all decodes says."""

    def begin(self, view: ReplicaView) -> None:
        super().begin(view)
        clocks = self.__dict__.setdefault("clocks", {})
        due = math.inf
        for seq in self.batch:
            if seq.decoding:
                clock = clocks.setdefault(seq.id, max(self._first_due_s(seq), seq.last_token_s))
                due = min(due, clock + self.next_after(seq) * seq.num_output)
        assert self._slack.due_s() == pytest.approx(due)

    @staticmethod
    def next_after(seq: SequenceView) -> float:
        if seq.slo.tpot_s is not None:
            return seq.slo.tpot_s
        return math.inf if seq.slo.e2e_s is None else 0.4


SLOS = [Slo(0.05, 0.01), Slo(0.4, 0.2), Slo(1.0, 0.2), Slo(e2e_s=20.0), Slo(0.3), Slo()]


@given(
    shapes=st.lists(
        st.tuples(st.integers(1, 60), st.integers(1, 30), st.sampled_from(SLOS)),
        min_size=1, max_size=14,
    )
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_the_tightest_decode_is_known_without_a_walk(shapes):
    requests = [
        make_request(
            i, arrival_s=i / 8, prompt=prompt, output=output, slo=slo,
            service_class=ServiceClass.BE if slo.ttft_s is None else ServiceClass.RT,
        )
        for i, (prompt, output, slo) in enumerate(shapes)
    ]  # fmt: skip
    kv = PagedKV(PagedParameters(num_gpu_blocks=30, block_size=4))
    replica = make_replica(
        scheduler=Walking(NiyamaParameters()), kv=kv, latency=UNEVEN, longest_stretch=1
    )
    table = run(requests, replica)
    assert (table.requests["status"] != "unfinished").all()
