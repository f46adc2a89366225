"""The idea of Tempo, rule by rule; an iteration takes 1 s, and is believed to."""

import pytest
from watched import BE, ask, column, watch

from bros_sim.core.request import Slo
from bros_sim.engine.estimate import Estimate
from bros_sim.engine.sequence import Sequence
from bros_sim.latency.parameters import DecodeLine, Linear
from bros_sim.schedulers.tempo_like import (
    Outlook,
    ServiceGain,
    TempoLikeParameters,
    TempoLikeScheduler,
)

GAIN = ServiceGain(output_weight=8.0, decay=1.0)
LOOSE = Slo(ttft_s=1000.0, tpot_s=1000.0)


def gain(slo, *, prompt=10, remaining_s=4.0, first_token_s=1.0, gain=GAIN):
    """Of a request that arrived 2 s ago, has no token yet and will have 3."""
    seq = Sequence(0, ask(0, prompt, 3, slo=slo), 1.0)
    return gain.of(seq, Outlook(3.0, 3, first_token_s, remaining_s))


def test_what_is_in_time_is_worth_its_tokens():
    assert gain(LOOSE) == 10 + 8 * 3
    assert gain(Slo()) == 10 + 8 * 3
    assert gain(Slo(e2e_s=6.0)) == 10 + 8 * 3


def test_a_late_answer_is_worth_less_in_proportion():
    assert gain(Slo(e2e_s=3.0)) == (10 + 8 * 3) * 3 / 6
    assert gain(Slo(e2e_s=3.0), gain=ServiceGain(8.0, 2.0)) == (10 + 8 * 3) / 4


def test_prompt_and_output_are_late_by_themselves():
    assert gain(Slo(ttft_s=1.5, tpot_s=1000.0)) == 10 * 1.5 / 3 + 8 * 3
    assert gain(Slo(ttft_s=3.0, tpot_s=0.5)) == 10 + 8 * 3 * 4 / 6


def test_density_is_gain_for_each_second():
    seq = Sequence(0, ask(0, 10, 3, slo=LOOSE), 1.0)
    assert GAIN.density(seq, Outlook(3.0, 3, 1.0, 4.0)) == (10 + 8 * 3) / 4


def test_tokens_that_are_out_were_in_time():
    seq = Sequence(0, ask(0, 10, 3, slo=Slo(ttft_s=0.5, tpot_s=0.5)), 1.0)
    seq.emit(2.5)
    assert GAIN.of(seq, Outlook(3.0, 3, 0.0, 4.0)) == 10 + 8 * (1 + 2 * 1.5 / 6)


def tempo(**policy):
    return TempoLikeScheduler(TempoLikeParameters(**{"max_num_seqs": 1} | policy))


def first_tokens(requests, **policy):
    return column(watch(tempo(**policy), requests)[1], "first_token_s")


def test_the_densest_comes_first():
    # By max_tokens, twice the output: (10 + 8 * 8) / 8 s and (42 + 8 * 4) / 4 s.
    requests = [ask(0, 10, 4, slo=LOOSE), ask(1, 42, 2, slo=LOOSE)]
    assert first_tokens(requests) == [3.0, 1.0]


def test_who_will_be_late_anyway_waits():
    # Both are to take 4 s; 0 is due after 1 s and worth a quarter.
    requests = [ask(0, 10, 2, slo=Slo(e2e_s=1.0)), ask(1, 10, 2, slo=Slo(e2e_s=5.0))]
    assert first_tokens(requests) == [3.0, 1.0]


def test_best_effort_gets_what_is_left():
    requests = [ask(0, 1000, 1, service_class=BE), ask(1, 10, 4, slo=LOOSE)]
    assert first_tokens(requests) == [5.0, 1.0]


def test_finished_requests_of_the_stream_bound_the_length():
    # By max_tokens (20 and 4) request 2 comes before 1; but stream a has been seen to end at 1.
    early = ask(0, 10, 1, slo=LOOSE)
    later = [ask(1, 10, 10, 0.5, slo=LOOSE), ask(2, 10, 2, 0.5, slo=LOOSE, stream="b")]
    assert first_tokens([early, *later]) == [1.0, 2.0, 12.0]
    assert first_tokens([ask(0, 10, 1, slo=LOOSE, stream="c"), *later]) == [1.0, 4.0, 2.0]


@pytest.mark.parametrize(("period", "evicted"), [(50, 1), (1, 0)])
def test_a_running_request_gives_way_only_for_enough_gain(period, evicted):
    # At 3 s: 0 has (10 + 8 * 40) / 37 = 8.9, 1 has (14 + 8 * 2) / 2 = 15. In a period of 50 s that
    # gains 304, in one of 1 s 6.1; the recompute takes 1 s, in which 0 would have gained 8.
    requests = [ask(0, 10, 20, slo=LOOSE), ask(1, 14, 1, 2.5, slo=LOOSE)]
    policy = tempo(period=period)
    assert column(watch(policy, requests)[1], "num_preemptions") == [evicted, 0]


def test_priorities_are_renewed_each_period():
    # While 0 runs, 1 waits with (12 + 8 * 2) / 2 = 14 and 2 with (10 + 8 * 2) / 2 = 13. From 4 s on
    # 1 would take 5.5 s instead of 3: 7.6.
    requests = [
        ask(0, 500, 5, slo=LOOSE),
        ask(1, 12, 1, 0.5, slo=Slo(e2e_s=3.0)),
        ask(2, 10, 1, 0.5, slo=Slo(e2e_s=100.0)),
    ]
    assert first_tokens(requests, period=50) == [1.0, 6.0, 7.0]
    assert first_tokens(requests, period=2) == [1.0, 7.0, 6.0]


@pytest.mark.parametrize("longest_stretch", [1, 100])
def test_periods_begin_anew_after_a_pause(longest_stretch):
    requests = [
        ask(0, 10, 4, slo=LOOSE),
        ask(1, 500, 5, 10.0, slo=LOOSE),
        ask(2, 12, 1, 10.5, slo=Slo(e2e_s=3.0)),
        ask(3, 10, 1, 10.5, slo=Slo(e2e_s=100.0)),
    ]
    _, table = watch(tempo(period=6), requests, longest_stretch=longest_stretch)
    assert column(table, "first_token_s") == [1.0, 11.0, 16.0, 17.0]  # renewed at 16 s


def test_who_lost_its_kv_takes_longer():
    # A prompt token is believed to take 10 ms. At 3 s: 0 (1000 + 20) / 17 s = 60,
    # 1 (300 + 2) / 4 s = 75, 2 (100 + 2) / 2 s = 51. Without KV, 0 has 1020 / 26 s = 39.
    requests = [
        ask(0, 1000, 10, slo=LOOSE),
        ask(1, 300, 1, 2.5, slo=LOOSE),
        ask(2, 100, 1, 2.5, slo=LOOSE),
    ]
    believed = Estimate(
        Linear(prefill_per_token_ms=10.0, decode=DecodeLine(const_ms=1000.0)).make()
    )
    _, table = watch(tempo(period=3, output_weight=1.0), requests, estimate=believed)
    assert column(table, "num_preemptions") == [1, 0, 0]
    assert column(table, "first_token_s") == [1.0, 4.0, 5.0]
