"""vLLM 0.2 to 0.4, rule by rule, seen through steps and token times; every iteration takes 1 s."""

import numpy as np
import pytest
from simulations import make_replica, make_request, run

from bros_sim.core.world import World
from bros_sim.engine.link import HostLink
from bros_sim.kv.paged import PagedKV
from bros_sim.kv.parameters import PagedParameters
from bros_sim.metrics.gaps import longest_gaps
from bros_sim.metrics.tokens import token_rows
from bros_sim.schedulers.vllm_v0 import VllmV0Parameters, VllmV0Scheduler

FAST = {"link": HostLink(to_gpu_gb_s=1e6, to_cpu_gb_s=1e6), "token_bytes": 1}


def v0(*, blocks: int = 1000, size: int = 16, cpu_blocks: int = 0, **policy):
    """A replica with that many usable blocks."""
    kv = PagedKV(PagedParameters(num_gpu_blocks=blocks + 1, block_size=size, cpu_blocks=cpu_blocks))
    policy = {"max_num_batched_tokens": 4096, "watermark": 0.0} | policy
    return make_replica(scheduler=VllmV0Scheduler(VllmV0Parameters(**policy)), kv=kv, **FAST)


def iterations(table):
    """Prefill tokens and decodes, iteration by iteration."""
    rows = table.steps[["prefill_tokens", "decode_jobs", "repeat"]].to_numpy().tolist()
    return [(prefill, decodes) for prefill, decodes, repeat in rows for _ in range(repeat)]


def tokens(table, number):
    """When the request's tokens came."""
    rows = token_rows(table)
    mine = np.flatnonzero(rows.request == number)
    return [t for i in mine for t in rows.end_s[rows.first[i] :][: rows.tokens[i]].tolist()]


def column(table, name):
    return table.requests[name].tolist()


def requests(*shapes):
    """Requests that arrive together, in that order, from (prompt, output)."""
    return [make_request(i, prompt=p, output=n) for i, (p, n) in enumerate(shapes)]


def test_an_iteration_runs_prompts_or_decodes():
    arrivals = [make_request(0, output=6), make_request(1, arrival_s=2.5, output=2)]
    table = run(arrivals, v0())
    assert iterations(table) == [(10, 0), (0, 1), (0, 1), (10, 0), (0, 2), (0, 1), (0, 1)]
    assert tokens(table, 0) == [1.0, 2.0, 3.0, 5.0, 6.0, 7.0]
    assert tokens(table, 1) == [4.0, 5.0]


def test_the_stall_is_a_gap_between_tokens_and_costs_no_row():
    arrivals = [make_request(0, output=6), make_request(1, arrival_s=2.5, output=2)]
    table = run(arrivals, v0())
    assert longest_gaps(token_rows(table), 2).tolist() == [2.0, 1.0]
    assert len(table.spans) == 2
    assert table.exceptions["iteration"].tolist() == [0, 3]


def test_resident_tokens_stand_still_while_the_cohort_stalls():
    arrivals = [make_request(0, output=6), make_request(1, arrival_s=2.5, output=2)]
    table = run(arrivals, v0())
    assert table.steps["kv_tokens"].tolist() == [10, 11, 22, 24, 14]


def test_prompts_are_never_cut_and_stay_within_the_token_limit():
    replica = v0(max_num_batched_tokens=100, max_num_seqs=9)
    table = run(requests((40, 2), (60, 2), (1, 2)), replica)
    assert iterations(table) == [(100, 0), (0, 1), (0, 3)]


def test_seats_are_limited():
    table = run(requests((10, 3), (10, 2), (10, 2)), v0(max_num_seqs=2))
    assert iterations(table) == [(20, 0), (0, 2), (10, 0), (0, 2)]


def test_the_head_of_the_queue_blocks_those_behind_it():
    table = run(requests((96, 3), (80, 2), (16, 2)), v0(blocks=10))
    assert column(table, "first_scheduled_s") == [0.0, 3.0, 3.0]


@pytest.mark.parametrize(("watermark", "second_starts"), [(0.1, 0.0), (0.2, 5.0)])
def test_a_prompt_leaves_the_watermark_free(watermark, second_starts):
    table = run(requests((112, 5), (32, 2)), v0(blocks=10, watermark=watermark))
    assert column(table, "first_scheduled_s") == [0.0, second_starts]


def test_a_request_alone_needs_no_watermark():
    table = run(requests((155, 3)), v0(blocks=10, watermark=0.5))
    assert column(table, "status") == ["completed"]


def test_the_latest_arrival_is_preempted_and_first_in_the_queue_again():
    arrivals = [*requests((16, 3), (32, 4)), make_request(2, arrival_s=0.5, prompt=20, output=1)]
    table = run(arrivals, v0(blocks=4))
    assert iterations(table) == [(48, 0), (0, 1), (0, 1), (33, 0), (0, 1), (0, 1), (20, 0)]
    assert column(table, "num_preemptions") == [0, 1, 0]
    assert column(table, "recomputed_tokens") == [0, 32, 0]
    assert tokens(table, 1) == [1.0, 4.0, 5.0, 6.0]


def test_each_decode_must_find_a_free_block_even_if_it_needs_none():
    table = run(requests((17, 2), (17, 3)), v0(blocks=4))
    assert column(table, "num_preemptions") == [0, 1]


def test_the_last_one_may_take_the_last_block():
    table = run(requests((17, 2), (16, 2)), v0(blocks=4))
    assert column(table, "num_preemptions") == [0, 0]
    table = run(requests((16, 2), (17, 2)), v0(blocks=4))
    assert column(table, "num_preemptions") == [0, 1]


def test_a_request_alone_is_not_preempted_for_a_block_it_does_not_need():
    table = run(requests((17, 16)), v0(blocks=2))
    assert column(table, "num_preemptions") == [0]


def test_a_swapped_request_goes_on_where_it_was_before_any_prompt():
    arrivals = [
        *requests((32, 6), (32, 4)),
        make_request(2, arrival_s=2.5, prompt=1, output=1),
    ]
    replica = v0(blocks=5, cpu_blocks=9, preemption_mode="swap")
    table = run(arrivals, replica)
    assert column(table, "num_preemptions") == [0, 0, 0]
    assert column(table, "recomputed_tokens") == [0, 0, 0]
    assert tokens(table, 0) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert tokens(table, 1) == [1.0, 7.0, 9.0, 10.0]
    assert tokens(table, 2) == [8.0]


@pytest.mark.parametrize(
    ("output", "watermark", "back_s"), [(2, 0.0, 3.0), (9, 0.0, 10.0), (2, 0.2, 10.0)]
)
def test_a_swapped_request_comes_back_beside_others_with_a_block_to_spare(
    output, watermark, back_s
):
    """It left two blocks, and does not need a third: still it waits for one."""
    replica = v0(blocks=5, cpu_blocks=9, preemption_mode="swap", watermark=watermark)
    table = run(requests((16, 9), (1, output), (17, 3)), replica)
    assert tokens(table, 2)[1] == back_s


def test_swapped_requests_come_back_in_order_of_arrival():
    """The third would fit where the second does not."""
    replica = v0(blocks=5, cpu_blocks=9, preemption_mode="swap")
    table = run(requests((32, 9), (16, 4), (16, 4)), replica)
    assert tokens(table, 1) == [1.0, 2.0, 10.0, 11.0]
    assert tokens(table, 2)[1] == 10.0


def test_the_latest_arrival_is_preempted_even_if_it_came_back_first():
    """The third was swapped and comes back before the second, which was recomputed."""
    replica = v0(blocks=5, size=4, cpu_blocks=1, preemption_mode="swap")
    table = run(requests((3, 5), (6, 6), (3, 4)), replica)
    assert tokens(table, 1)[4:] == [7.0, 8.0]
    assert tokens(table, 2)[2:] == [6.0, 9.0]
    assert column(table, "num_preemptions") == [0, 1, 1]


def test_swap_recomputes_when_the_cpu_is_full():
    replica = v0(blocks=5, cpu_blocks=1, preemption_mode="swap")
    table = run(requests((32, 4), (32, 4)), replica)
    assert column(table, "num_preemptions") == [0, 1]


def test_prefixes_are_not_cached():
    shared = [make_request(i, prompt=40, prefix=(7, 8)) for i in range(2)]
    table = run(shared, v0())
    assert column(table, "cached_tokens") == [0, 0]
    assert iterations(table)[0] == (80, 0)


@pytest.mark.parametrize("blocks", range(6, 14))
def test_a_stretch_ends_before_anybody_is_preempted(blocks):
    def one(longest_stretch):
        replica = v0(blocks=blocks)
        replica.longest_stretch = longest_stretch
        return run(requests((10, 60), (15, 60), (20, 9)), replica)

    assert iterations(one(4096)) == iterations(one(1))
    assert one(4096).requests["num_preemptions"].sum() > 0 or blocks > 10


def test_what_vllm_refuses_is_refused():
    assert not VllmV0Parameters().conflicts(World(2048))
    assert "below the model length 4096" in VllmV0Parameters().conflicts(World(4096))[0]
    assert (
        "below max_num_seqs" in VllmV0Parameters(max_num_batched_tokens=100).conflicts(World(50))[0]
    )
