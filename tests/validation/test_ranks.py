"""Data-parallel ranks: lock step for a mixture of experts, replicas for a dense model."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bros_sim.core.errors import InputError
from bros_sim.profiles.profile import load_profile
from bros_sim.validation.ranks import over_ranks
from bros_sim.validation.real_run import EngineArguments
from bros_sim.validation.replay import Setup, replay
from bros_sim.validation.server import server_of

MIXTURE, DENSE = "rtxpro6000/qwen3-30b-a3b-tp1", "rtxpro6000/llama-3.1-8b-tp1"


def ranks(number=2, **more):
    values = {"data_parallel_size": number, "enable_expert_parallel": True, **more}
    return EngineArguments(Path("meta.json"), "0.19.0", values)


def played(name, *rows, arguments=None):
    """Requests of (arrival_s, prompt, output): to rank 0 and 1 in turn."""
    table = pd.DataFrame(rows, columns=["arrival_s", "prompt_tokens", "output_tokens"])
    return replay(table, arguments or ranks(), load_profile(name))


def test_iterations_of_a_mixture_end_with_the_slower_rank():
    times = played(MIXTURE, (0.0, 2000, 1), (0.0, 16, 2), (5.0, 16, 1))
    assert list(times["replica"]) == [0, 1, 0]
    assert times["first_token_s"][0] == times["first_token_s"][1]
    alone = times["first_token_s"][2] - times["queued_s"][2]
    assert times["first_token_s"][0] - times["queued_s"][0] > 3 * alone
    assert times["last_token_s"][1] > times["first_token_s"][1]


def test_a_rank_without_work_joins_when_the_iteration_of_the_other_ends():
    times = played(MIXTURE, (0.0, 2000, 1), (0.01, 16, 1))
    assert times["first_token_s"][1] > times["first_token_s"][0]
    free = played(DENSE, (0.0, 2000, 1), (0.01, 16, 1))
    assert free["first_token_s"][1] < free["first_token_s"][0]


def test_a_rank_holds_its_share_of_the_experts_and_more_kv():
    profile = load_profile(MIXTURE)
    one = over_ranks(profile, 2)
    assert profile.weight_bytes - one.weight_bytes == profile.model.experts.parameters
    assert one.derived_num_gpu_blocks > 1.9 * profile.derived_num_gpu_blocks
    assert str(f"{one.derived_num_gpu_blocks:,}") in server_of(ranks(), profile).notes[-1]
    # Two NCCL starts are one all-reduce of both ranks' tokens: 48 blocks x (15 us + 4,096 bytes).
    per_token_ms = 48 * 2 * 4096 / 16e9 * 1e3
    exchange = one.models.layers.all_reduce.make()
    assert exchange.at(1) == pytest.approx(48 * 0.015 + per_token_ms)
    assert exchange.at(1001) - exchange.at(1) == pytest.approx(1000 * per_token_ms)


def test_ranks_that_cannot_be_played_are_refused():
    profile = load_profile(MIXTURE)
    silent = replace(profile, engine=replace(profile.engine, terms={}))
    with pytest.raises(InputError, match="states no nccl_gb_s"):
        over_ranks(silent, 2)
    with pytest.raises(InputError, match="has no expert blocks to split"):
        over_ranks(load_profile(DENSE), 2)
    table = pd.DataFrame({"arrival_s": [0.0], "prompt_tokens": [9], "output_tokens": [1]})
    with pytest.raises(InputError, match="2 replicas of 2 data-parallel ranks cannot"):
        replay(table, ranks(), profile, Setup(replicas=2))
