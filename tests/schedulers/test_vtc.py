"""VTC, rule by rule; every iteration takes 1 s. Counters: 1 a prompt token, 2 an output token."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulations import make_replica, run
from watched import BE, RT, ask, column, watch

from bros_sim.kv.parameters import ReservedParameters
from bros_sim.kv.reserved import ReservedKV
from bros_sim.schedulers.vtc import VtcParameters, VtcScheduler


def seen(requests, **policy):
    """One request at a time, unless said otherwise."""
    return watch(VtcScheduler(VtcParameters(**{"max_num_seqs": 1} | policy)), requests)[0]


def order(requests, **policy):
    """Who got its first token when, earliest first."""
    started = [seq for computed in seen(requests, **policy) for seq in computed]
    return list(dict.fromkeys(started))


def test_next_is_the_earliest_of_the_client_served_least():
    # a: 0, 1, 2 (10 tokens each); b: 3, 4 (30 each). Each pays its prompt + 2 for its token.
    requests = [ask(i, 10, 1) for i in range(3)] + [ask(i, 30, 1, stream="b") for i in (3, 4)]
    # a 0, b 0: tie, request 0. a 12, b 0: 3. a 12, b 32: 1. a 24: 2. then 4.
    assert order(requests) == [0, 3, 1, 2, 4]


def test_output_tokens_are_paid_as_they_come():
    # a's first costs 10 + 2 * 9 = 28, b's 20 + 2 = 22 and b's second goes before a's.
    a, b = [ask(0, 10, 9), ask(1, 10, 1)], [ask(2, 20, 1, stream="b"), ask(3, 20, 1, stream="b")]
    assert order([*a, *b]) == [0, 2, 3, 1]
    assert order([*a, *b], output_weight=0.0) == [0, 2, 1, 3]


def test_prompts_cost_their_weight():
    requests = [ask(0, 10, 9), ask(1, 10, 1), ask(2, 40, 1, stream="b"), ask(3, 40, 1, stream="b")]
    assert order(requests) == [0, 2, 1, 3]  # a 28, b 42
    assert order(requests, input_weight=0.1) == [0, 2, 3, 1]  # a 19, b 6


def test_prompts_admitted_together_are_paid_one_by_one():
    requests = [ask(i, 10, 1) for i in range(3)] + [ask(i, 10, 1, stream="b") for i in (3, 4)]
    got = seen(requests, max_num_seqs=4)
    assert got == [{0: 10, 1: 10, 3: 10, 4: 10}, {2: 10}]


def test_a_prompt_under_way_is_finished_before_others_start():
    requests = [ask(0, 10, 1), ask(1, 10, 1), ask(2, 40, 1, stream="b")]
    got = seen(requests, max_num_seqs=8, max_num_batched_tokens=20)
    assert got == [{0: 10, 2: 10}, {2: 20}, {1: 10, 2: 10}]


def test_where_the_least_served_finds_no_room_nobody_starts():
    requests = [ask(0, 30, 4), ask(1, 40, 1, 0.5, stream="b"), ask(2, 10, 1, 0.5)]
    got, _ = watch(VtcScheduler(VtcParameters()), requests, blocks=4)
    assert got == [{0: 30}, {0: 1}, {0: 1}, {0: 1}, {1: 40, 2: 10}]


def test_absence_earns_no_credit_while_others_wait():
    # b comes at 3.5 s. a has paid 4 * 12 by then: lifted to 48, b has no right to go first twice.
    a = [ask(i, 10, 1) for i in range(8)]
    b = [ask(8, 10, 1, 3.5, stream="b"), ask(9, 10, 1, 3.5, stream="b")]
    assert order([*a, *b]) == [0, 1, 2, 3, 4, 8, 5, 9, 6, 7]


def test_absence_earns_no_credit_where_nobody_waits():
    # At 0.5 s nobody waits and b comes: lifted to a's counter, 10 (its token is paid at 1 s).
    requests = [ask(0, 10, 1), ask(1, 9, 2, 0.5, stream="b")]
    requests += [ask(2, 9, 1, 1.5, stream="b"), ask(3, 9, 1, 1.5)]
    # at 3 s: a 12, b 12 + 9 + 4 = 25 -> 3 before 2
    assert order(requests) == [0, 1, 3, 2]


def test_nobody_running_gives_way_for_fairness():
    _, table = watch(
        VtcScheduler(VtcParameters(max_num_seqs=1)),
        [ask(0, 10, 20), ask(1, 10, 1, 1.0, stream="b")],
    )
    assert column(table, "num_preemptions") == [0, 0]
    assert column(table, "first_token_s") == [1.0, 21.0]


def test_who_is_recomputed_pays_its_prompt_once():
    # 2 (of b) loses its block to 0 at once; with 24 + ... paid twice, 3 (of a) would go before it.
    policy = VtcScheduler(VtcParameters())
    requests = [ask(0, 15, 6), ask(1, 10, 12, stream="b")]
    _, table = watch(policy, requests, blocks=2)
    assert column(table, "num_preemptions") == [0, 1]
    assert policy._waiting.counter("b") == 10 + 2 * 12
    assert policy._waiting.counter("a") == 15 + 2 * 6


@pytest.mark.parametrize(("clients", "expected"), [("stream", [0, 1, 2]), ("class", [0, 2, 1])])
def test_a_client_is_a_stream_or_a_class(clients, expected):
    requests = [
        ask(0, 10, 1, service_class=RT),
        ask(1, 10, 1, service_class=RT, stream="b"),
        ask(2, 10, 1, service_class=BE, stream="c"),
    ]
    assert order(requests, clients=clients) == expected


@pytest.mark.parametrize("longest_stretch", [1, 100])
def test_the_last_tokens_before_a_pause_are_paid_too(longest_stretch):
    policy = VtcScheduler(VtcParameters())
    requests = [ask(0, 10, 7), ask(1, 10, 30, stream="b"), ask(2, 10, 2, 99.0, stream="c")]
    watch(policy, requests, longest_stretch=longest_stretch)
    counters = [policy._waiting.counter(name) for name in "abc"]
    assert counters == [10 + 2 * 7, 10 + 2 * 30, 70 + 10 + 2 * 2]  # c is lifted to b, the last


@given(
    prompts=st.lists(st.tuples(st.integers(10, 60), st.integers(5, 40)), min_size=60, max_size=60),
    share=st.integers(1, 5),
)
@settings(max_examples=20)
def test_backlogged_clients_differ_by_no_more_than_the_paper_proves(prompts, share):
    """Lemma 4.3, the counters of clients that wait: max(w_p * longest prompt, w_q * memory)."""
    gaps = []

    class Watching(VtcScheduler):
        def begin(self, view):
            super().begin(view)
            if sum(bool(x.line) for x in self._waiting.accounts.values()) == 2:
                gaps.append(abs(self._waiting.counter("a") - self._waiting.counter("b")))

    requests = [
        ask(i, prompt, output, stream="a" if i % (share + 1) else "b")
        for i, (prompt, output) in enumerate(prompts)
    ]
    kv = ReservedKV(ReservedParameters(num_gpu_blocks=321, block_size=1))
    run(requests, make_replica(scheduler=Watching(VtcParameters()), kv=kv))
    assert len(gaps) > 10
    assert max(gaps) <= max(1.0 * max(prompt for prompt, _ in prompts), 2.0 * 320)
