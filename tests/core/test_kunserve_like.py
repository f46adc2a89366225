"""`kunserve_like`: parameters give way before anybody waits for memory, and come back after."""

import numpy as np
import pytest
from simulations import ONE_SECOND, make_replica, make_request, run

from bros_sim.config import parse
from bros_sim.core.errors import InputError
from bros_sim.engine.sequence import Sequence
from bros_sim.experiment import load
from bros_sim.kv.kunserve_like import KunserveLikeKV
from bros_sim.kv.paged import PagedKV
from bros_sim.kv.parameters import KunserveLikeParameters, PagedParameters

SMALL = {"num_gpu_blocks": 5, "block_size": 4, "enable_prefix_caching": False}
"""Four blocks of four tokens."""


def served(kv, requests):
    tables = run(requests, make_replica(kv=kv, latency=ONE_SECOND))
    return tables.requests, np.diff(tables.iteration_end_s[0], prepend=0.0).tolist()


def two(output):
    """Both prompts fill their two blocks, so that each decode needs a block of its own."""
    return [make_request(n, prompt=8, output=output) for n in range(2)]


def test_parameters_are_dropped_before_anybody_is_preempted():
    rows, _ = served(PagedKV(PagedParameters(**SMALL)), two(3))
    assert rows["num_preemptions"].tolist() == [0, 1]
    rows, steps = served(
        KunserveLikeKV(KunserveLikeParameters(**SMALL, extra_blocks=2, slowdown=1.5)), two(3)
    )
    assert rows["num_preemptions"].tolist() == [0, 0]
    assert steps == [1.0, 1.5, 1.5], "slow from the iteration that lacked a block"


def test_parameters_are_dropped_before_anybody_waits():
    requests = [make_request(n, prompt=8, output=1) for n in range(3)]
    rows, steps = served(PagedKV(PagedParameters(**SMALL)), requests)
    assert rows["first_token_s"].tolist() == [1.0, 1.0, 2.0]
    rows, steps = served(
        KunserveLikeKV(KunserveLikeParameters(**SMALL, extra_blocks=2, slowdown=1.25)), requests
    )
    assert rows["first_token_s"].tolist() == [1.25, 1.25, 1.25]
    assert steps == [1.25]


def test_a_drop_that_would_not_do_is_not_made():
    requests = [make_request(n, prompt=8, output=1) for n in range(3)]
    rows, steps = served(KunserveLikeKV(KunserveLikeParameters(**SMALL, extra_blocks=1)), requests)
    assert rows["first_token_s"].tolist() == [1.0, 1.0, 2.0]
    assert steps == [1.0, 1.0]


@pytest.mark.parametrize(("restore_below", "after"), [(0.5, 1.25), (0.75, 1.0)])
def test_parameters_come_back_at_a_finish_that_leaves_little_in_use(restore_below, after):
    """The first one ends after two tokens; the other then holds three of the four blocks."""
    kv = KunserveLikeKV(
        KunserveLikeParameters(**SMALL, extra_blocks=2, slowdown=1.25, restore_below=restore_below)
    )
    requests = [make_request(0, prompt=8, output=2), make_request(1, prompt=8, output=4)]
    _, steps = served(kv, requests)
    assert steps == [1.0, 1.25, after, after]
    assert kv.usable_blocks == kv.free_blocks == 4


def test_a_drop_is_undone_with_the_draft():
    kv = KunserveLikeKV(KunserveLikeParameters(**SMALL, extra_blocks=3, slowdown=2.0))
    seq = Sequence(0, make_request(prompt=25), 0.0)
    assert kv.admit(seq, 25, (), must_fit=0, spare=0)
    assert (kv.usable_blocks, kv.free_blocks, kv.pace) == (7, 0, 2.0)
    kv.rollback()
    assert (kv.usable_blocks, kv.free_blocks, kv.pace) == (4, 4, 1.0)


@pytest.mark.parametrize(("preempted", "pace"), [(True, 2.0), (False, 1.0)])
def test_a_preemption_brings_no_parameters_back(preempted, pace):
    """Memory is short, or nobody would be preempted."""
    kv = KunserveLikeKV(KunserveLikeParameters(**SMALL, extra_blocks=3, slowdown=2.0))
    seq = Sequence(0, make_request(prompt=25), 0.0)
    kv.admit(seq, 25, (), must_fit=0, spare=0)
    kv.release(seq, resumable=preempted)
    assert kv.pace == pace
    assert kv.free_blocks == kv.usable_blocks


def test_a_pipeline_is_never_slower_than_one_batch_after_the_other():
    with pytest.raises(ValueError, match=r"slowdown 2\.5 is over group 2"):
        KunserveLikeKV(KunserveLikeParameters(9, slowdown=2.5))


EXPERIMENT = """
name: burst
duration_s: 1
cluster: {{replicas: {replicas}, profile: a100-80gb/qwen3-14b-tp1}}
workload:
  chat:
    class: rt
    arrivals: {{kind: poisson, rate_rps: 5}}
    lengths: {{kind: fixed, prompt: 9, output: 2}}
systems: {{one: {{scheduler: {{kind: vllm}}, kv: {{kind: kunserve_like, group: {group}}}}}}}
"""


def extra_blocks(replicas, group):
    (point,) = load(parse(EXPERIMENT.format(replicas=replicas, group=group), "e.yaml")).points
    return point.spec.system.kv.extra_blocks


def test_a_replica_of_a_group_of_two_drops_half_of_its_parameters():
    """29.5 GB of parameters, 163,840 bytes of KV per token: 90,136 tokens for each of two."""
    assert extra_blocks(2, 2) == 14_768_307_200 * 2 // 2 // (16 * 163_840) == 5633
    assert extra_blocks(4, 4) == 14_768_307_200 * 2 * 3 // 4 // (16 * 163_840)


def test_replicas_are_whole_groups():
    with pytest.raises(
        InputError, match=r"e\.yaml:10:.*one\.kv: 3 replicas are no whole groups of 2"
    ):
        extra_blocks(3, 2)
