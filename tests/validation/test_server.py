"""The server of a replay: what its arguments leave open follows from version and GPU."""

import json

import pytest

from bros_sim.core.errors import InputError
from bros_sim.engine.async_scheduling import AsyncEngine
from bros_sim.engine.record import RunLog
from bros_sim.profiles.profile import load_profile
from bros_sim.validation.real_run import read_arguments
from bros_sim.validation.server import server_of

H100, A100 = "h100-80gb/qwen3-14b-tp1", "a100-80gb/qwen3-14b-tp1"


def server(folder, profile=H100, version="0.23.0", **arguments):
    meta = folder / "meta.json"
    meta.write_text(json.dumps({"vllm_version": version, "engine_kwargs": arguments}))
    return server_of(read_arguments(meta), load_profile(profile))


def engine(folder, *given, **arguments):
    return server(folder, *given, **arguments).make(0, RunLog())


@pytest.mark.parametrize(("profile", "tokens", "seqs"), [(H100, 8192, 1024), (A100, 2048, 256)])
def test_limits_that_are_not_stated_are_those_of_the_gpu(tmp_path, profile, tokens, seqs):
    scheduler = engine(tmp_path, profile).scheduler
    assert (scheduler.max_num_batched_tokens, scheduler.max_num_seqs) == (tokens, seqs)


def test_the_share_of_memory_follows_the_version(tmp_path):
    """0.92 since 0.21 (vLLM pull request 38284): 1.58 GiB of this card are 647 blocks more."""
    blocks = [engine(tmp_path, H100, version).kv.usable_blocks for version in ("0.20.2", "0.21.0")]
    assert blocks[0] == 17413 - 1
    assert blocks[1] - blocks[0] == pytest.approx(79.19 * 0.02 * 2**30 / 2621440, abs=1)


def test_fp8_kv_halves_the_bytes_of_a_token(tmp_path):
    plain = engine(tmp_path, gpu_memory_utilization=0.9).kv.usable_blocks
    fp8 = engine(tmp_path, gpu_memory_utilization=0.9, kv_cache_dtype="fp8_e4m3").kv.usable_blocks
    assert fp8 == pytest.approx(2 * plain, abs=2)


def test_an_unknown_type_of_the_kv_cache_is_refused(tmp_path):
    with pytest.raises(InputError, match="kv_cache_dtype: 'int3' is not known"):
        server(tmp_path, kv_cache_dtype="int3")


def test_scheduling_is_asynchronous_where_the_version_has_it_on(tmp_path):
    kinds = [type(engine(tmp_path, H100, v)) is AsyncEngine for v in ("0.13.0", "0.14.0")]
    assert kinds == [False, True]
    assert type(engine(tmp_path, async_scheduling=False)) is not AsyncEngine


def test_the_v0_engine_is_played_by_its_own_rules(tmp_path):
    old = engine(tmp_path, H100, "0.7.3", max_model_len=4096)
    assert type(old.scheduler).__name__ == "VllmV0Scheduler"
    limits = old.scheduler.parameters
    assert (limits.max_num_batched_tokens, limits.max_num_seqs) == (4096, 256)
    assert not old.kv.enable_prefix_caching


def test_a_model_length_over_the_kv_cache_does_not_start(tmp_path):
    with pytest.raises(InputError, match="max_model_len: 1600 is the most that fits"):
        server(tmp_path, num_gpu_blocks_override=101)


def test_what_is_not_modelled_is_named_and_neutral_values_are_not(tmp_path):
    meta = tmp_path / "meta.json"
    arguments = {"quantization": "fp8", "speculative_config": {"n": 2}, "enforce_eager": True}
    meta.write_text(json.dumps({"engine_kwargs": arguments}))
    notes = read_arguments(meta).notes
    assert [note.split(": ")[1] for note in notes] == [
        "quantization",
        "speculative_config",
        "enforce_eager",
    ]
