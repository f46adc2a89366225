"""The idea of SLOs-Serve, rule by rule. A prompt token takes 10 ms, decodes 100 ms together."""

from hypothesis import given, settings
from hypothesis import strategies as st
from watched import BE, ask, column, watch

from bros_sim.core.request import Slo
from bros_sim.engine.estimate import Estimate
from bros_sim.latency.parameters import DecodeLine, Linear
from bros_sim.schedulers.slos_serve import SlosServeLikeParameters, SlosServeLikeScheduler

TIMES = Linear(prefill_per_token_ms=10.0, decode=DecodeLine(const_ms=100.0)).make()
CROWDED = Linear(
    prefill_per_token_ms=10.0, decode=DecodeLine(const_ms=100.0, per_seq_ms=50.0)
).make()
"""Each decode makes the iteration longer."""


def play(requests, *, latency=TIMES, blocks=1000, estimate=None, **policy):
    policy = SlosServeLikeScheduler(SlosServeLikeParameters(**({"max_num_seqs": 8} | policy)))
    estimate = estimate or Estimate(latency)
    return watch(policy, requests, latency=latency, blocks=blocks, estimate=estimate)


def seen(requests, **parts):
    return play(requests, **parts)[0]


def due(ttft_s, tpot_s=None):
    return Slo(ttft_s=ttft_s, tpot_s=tpot_s)


def test_as_many_as_can_be_are_promised_and_the_rest_gets_what_is_left():
    # 105 tokens by 1.055 s: 60 and 40, not 80 alone. 5 tokens are left of the first iteration.
    requests = [ask(0, 80, 1, slo=due(1.055)), ask(1, 60, 1, slo=due(1.055))]
    requests += [ask(2, 40, 1, slo=due(1.055))]
    assert seen(requests) == [{0: 5, 1: 60, 2: 40}, {0: 75}]


def test_the_promised_come_by_deadline_and_best_effort_last():
    requests = [ask(0, 30, 1, service_class=BE), ask(1, 30, 1, slo=due(2.0))]
    requests += [ask(2, 30, 1, slo=due(1.0))]
    assert seen(requests, max_num_batched_tokens=30) == [{2: 30}, {1: 30}, {0: 30}]


def test_an_iteration_ends_within_the_tightest_tpot():
    requests = [ask(0, 10, 5, slo=due(1.0, 0.205)), ask(1, 100, 1, 0.05, service_class=BE)]
    assert seen(requests) == [{0: 10}, *[{0: 1, 1: 10}] * 4, {1: 60}]


def test_prompts_of_the_promised_are_cut_to_it_too():
    requests = [ask(0, 10, 9, slo=due(1.0, 0.205)), ask(1, 25, 1, 0.05, slo=due(9.0, 0.5))]
    assert seen(requests)[:4] == [{0: 10}, {0: 1, 1: 10}, {0: 1, 1: 10}, {0: 1, 1: 5}]


def test_no_prompt_makes_late_the_one_that_is_due_first():
    requests = [ask(0, 23, 1, slo=due(0.505)), ask(1, 56, 1, slo=due(1.3))]
    assert seen(requests) == [{0: 23, 1: 27}, {1: 29}]


def test_a_prompt_that_is_late_anyway_holds_nobody_up():
    # Tokens are believed to take half of what they do. At 0.6 s 0 has 0.15 s left and asks for 0.2.
    requests = [ask(0, 100, 1, slo=due(0.75)), ask(1, 100, 1, slo=due(2.0))]
    believed = Estimate(Linear(prefill_per_token_ms=5.0, decode=DecodeLine(const_ms=50.0)).make())
    got = seen(requests, max_num_batched_tokens=60, latency=TIMES, estimate=believed)
    assert got == [{0: 60}, {0: 40, 1: 20}, {1: 60}, {1: 20}]


def test_who_could_not_hold_its_tpot_even_alone_is_best_effort():
    requests = [ask(0, 10, 1, slo=due(1.0, 0.05)), ask(1, 10, 1, slo=due(1.0, 0.5))]
    assert seen(requests, max_num_seqs=1) == [{1: 10}, {0: 10}]


def test_no_more_are_promised_than_can_decode_in_time():
    # Two decodes take 0.2 s, three 0.25 s.
    requests = [ask(i, 10, 4, slo=due(9.0, 0.22)) for i in range(3)]
    got = seen(requests, latency=CROWDED)
    assert got[:3] == [{0: 10, 1: 10, 2: 10}, {0: 1, 1: 1}, {0: 1, 1: 1}]


def test_a_promise_binds_whoever_comes_later():
    # 0 needs all but 10 of the tokens until 5.1 s; 1 and 2 could both be in time without it.
    requests = [ask(0, 500, 1, slo=due(5.1))]
    requests += [ask(i, 40, 1, 0.5, slo=due(3.5)) for i in (1, 2)]
    got = seen(requests, max_num_batched_tokens=100)
    assert got == [*[{0: 100}] * 5, {1: 40, 2: 40}]


def test_an_earlier_deadline_goes_first_where_both_can_be_kept():
    requests = [ask(0, 300, 1, slo=due(9.0)), ask(1, 150, 1, 0.5, slo=due(3.5))]
    got = seen(requests, max_num_batched_tokens=100)
    assert got[:4] == [{0: 100}, {1: 100}, {0: 50, 1: 50}, {0: 100}]


def test_best_effort_decodes_pause_for_the_tpot_of_the_promised():
    requests = [ask(0, 10, 9, service_class=BE), ask(1, 10, 9, service_class=BE)]
    requests += [ask(2, 10, 4, 0.3, slo=due(9.0, 0.22))]
    got, table = play(requests, latency=CROWDED)
    assert got == [
        {0: 10, 1: 10},
        {0: 1, 1: 1},
        {0: 1, 1: 1, 2: 10},
        *[{0: 1, 2: 1}] * 3,
        *[{0: 1, 1: 1}] * 3,
        *[{1: 1}] * 3,
    ]
    assert column(table, "num_preemptions") == [0, 0, 0]


def test_best_effort_decodes_pause_for_the_deadline_of_a_promised_prompt():
    # At 0.15 s 0.28 s are left: 0.1 s + 0.1 s for 10 tokens with one decode, 0.25 s with both.
    requests = [ask(0, 5, 3, service_class=BE), ask(1, 5, 3, service_class=BE)]
    requests += [ask(2, 10, 1, 0.05, slo=due(0.33))]
    got = seen(requests, latency=CROWDED)
    assert got == [{0: 5, 1: 5}, {0: 1, 2: 10}, {0: 1, 1: 1}, {1: 1}]


def test_best_effort_gives_up_its_seat():
    requests = [ask(0, 10, 9, service_class=BE), ask(1, 10, 2, 0.15, slo=due(9.0))]
    got, table = play(requests, max_num_seqs=1)
    assert column(table, "num_preemptions") == [1, 0]
    assert got[:4] == [{0: 10}, {0: 1}, {1: 10}, {1: 1}]


def test_nobody_gives_up_a_seat_for_best_effort():
    requests = [ask(0, 10, 4, slo=due(9.0)), ask(1, 10, 2, 0.05, service_class=BE)]
    _, table = play(requests, max_num_seqs=1)
    assert column(table, "num_preemptions") == [0, 0]


def test_memory_is_kept_for_all_that_the_promised_may_generate():
    # 0 and 1 may need 8 + 24 tokens, 2 blocks each, of 4. 2 is best effort, its deadline be as
    # early as it may: it runs in what they do not use yet, and gives way as they grow.
    requests = [ask(i, 8, 12, slo=due(9.0)) for i in range(2)]
    requests += [ask(2, 8, 12, 0.05, slo=due(5.0))]
    _, table = play(requests, blocks=4)
    assert column(table, "num_preemptions") == [0, 0, 1]
    assert column(play(requests, blocks=6)[1], "num_preemptions") == [0, 0, 0]


@given(
    shapes=st.lists(
        st.tuples(st.integers(0, 60), st.integers(1, 60), st.integers(1, 20), st.integers(2, 40)),
        min_size=5,
        max_size=30,
    )
)
@settings(max_examples=40)
def test_promises_are_kept_to_within_an_iteration(shapes):
    """Where the estimate is right, and whatever best effort there is."""
    promised = set()

    class Watching(SlosServeLikeScheduler):
        def begin(self, view):
            super().begin(view)
            promised.update(self._promised)

    tenths = sorted(shapes)
    requests = [
        ask(i, prompt, output, at / 10, slo=due(ttft / 10, 0.25) if i % 3 else None)
        for i, (at, prompt, output, ttft) in enumerate(tenths)
    ]
    _, table = watch(Watching(SlosServeLikeParameters(max_num_seqs=64)), requests, latency=TIMES)
    rows = table.requests.loc[sorted(promised)]
    late = rows["first_token_s"] - rows["arrival_s"] - rows["ttft_slo_s"]
    assert promised
    assert late.max() <= 0.25
    after_first = rows["last_token_s"] - rows["first_token_s"]
    assert (after_first <= 0.25 * (rows["generated_tokens"] - 1) + 1e-9).all()
