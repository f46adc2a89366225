"""RelayAttention: a system prompt's KV is read once for 64 requests; nothing else changes."""

from dataclasses import replace

import numpy as np
import pytest
from simulations import make_replica, make_request, run

from bros_sim.config import parse
from bros_sim.core.errors import InputError, LawBroken
from bros_sim.experiment import load
from bros_sim.kv.paged import PagedKV
from bros_sim.kv.parameters import PagedParameters
from bros_sim.kv.pool import Block
from bros_sim.kv.relay import SharedReads
from bros_sim.latency.parameters import DecodeLine, Linear

PER_KV = Linear(prefill_ms=1.0, decode=DecodeLine(const_ms=1.0, per_kv_token_ms=1.0)).make()
"""Milliseconds of a decode iteration: one and the KV tokens that it reads."""


def chat(index, arrival_s=0.0, prompt=40, output=4, system=32, hashed=7):
    """A request whose prompt begins with ``system`` tokens that its stream shares."""
    request = make_request(
        index, arrival_s=arrival_s, prompt=prompt, output=output, prefix=(hashed,),
        hash_block_tokens=system,
    )  # fmt: skip
    return replace(request, system_prompt_tokens=system)


def steps_ms(requests, latency=PER_KV, **options):
    kv = PagedKV(PagedParameters(num_gpu_blocks=1001, **options))
    tables = run(requests, make_replica(kv=kv, latency=latency))
    return np.round(np.diff(tables.iteration_end_s[0], prepend=0.0) * 1000).tolist(), tables


def test_three_requests_read_their_system_prompt_once():
    """Of three prompts of 40 tokens 32 are shared: 3 * 41 tokens are attended to, 64 spared."""
    requests = [chat(n) for n in range(3)]
    plain, _ = steps_ms(requests)
    relayed, _ = steps_ms(requests, relay_attention=True)
    assert plain == [1, 1 + 3 * 41, 1 + 3 * 42, 1 + 3 * 43]
    assert relayed == [1, 1 + 3 * 41 - 64, 1 + 3 * 42 - 64, 1 + 3 * 43 - 64]


def test_who_finishes_no_longer_shares():
    requests = [chat(0, output=2), chat(1, output=4)]
    relayed, _ = steps_ms(requests, relay_attention=True)
    assert relayed == [1, 1 + 2 * 41 - 32, 1 + 42, 1 + 43]


def test_only_whole_blocks_of_the_same_prompt_are_shared():
    odd = [chat(n, system=39) for n in range(2)]
    assert steps_ms(odd, relay_attention=True)[0][1] == 1 + 2 * 41 - 32
    strangers = [chat(0, hashed=7), chat(1, hashed=8)]
    assert steps_ms(strangers, relay_attention=True)[0] == steps_ms(strangers)[0]
    alone = [make_request(n, prompt=40) for n in range(2)]
    assert steps_ms(alone, relay_attention=True)[0] == steps_ms(alone)[0]
    copies = {"relay_attention": True, "enable_prefix_caching": False}
    assert steps_ms(odd, **copies)[0] == steps_ms(odd)[0]


def test_a_prefix_that_is_no_system_prompt_is_read_by_each():
    requests = [replace(chat(n), system_prompt_tokens=0) for n in range(3)]
    assert steps_ms(requests, relay_attention=True)[0] == steps_ms(requests)[0]


def test_what_does_not_depend_on_kv_is_the_same_to_the_byte():
    flat = Linear(prefill_ms=9.0, decode=DecodeLine(const_ms=5.0, per_seq_ms=0.3)).make()
    requests = [chat(n, 0.01 * n, output=3 + n % 7) for n in range(40)]
    (_, plain), (_, relayed) = (steps_ms(requests, flat, relay_attention=on) for on in (0, 1))
    assert relayed.requests.equals(plain.requests)
    assert relayed.steps.equals(plain.steps)


@pytest.mark.parametrize(("members", "reads"), [(1, 1), (2, 1), (64, 1), (65, 2), (200, 4)])
def test_a_read_serves_64_requests(members, reads):
    shared, last = SharedReads(), Block("prompt")
    for _ in range(members):
        shared.add(last, 100)
    assert shared.spared == 100 * (members - reads)
    for _ in range(members):
        shared.add(last, 100, -1)
    assert shared.spared == 0


def test_the_law_of_kv_counts_what_is_spared():
    replica = make_replica(kv=PagedKV(PagedParameters(1001, relay_attention=True)))
    replica.kv._relay.spared = 1
    with pytest.raises(LawBroken, match="L4: 1 KV tokens spared, should be 0"):
        replica.kv.check([])


def test_relay_without_a_prefix_cache_is_refused():
    text = """
name: relay
duration_s: 1
workload:
  chat:
    class: rt
    arrivals: {kind: poisson, rate_rps: 5}
    lengths: {kind: fixed, prompt: 9, output: 2}
systems:
  one:
    scheduler: {kind: vllm}
    kv: {kind: paged, relay_attention: true, enable_prefix_caching: false}
"""
    with pytest.raises(InputError, match=r"e\.yaml:12:.*one\.kv: relay_attention needs"):
        load(parse(text, "e.yaml"))
