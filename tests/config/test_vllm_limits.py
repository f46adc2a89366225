"""Limits that vLLM takes from the GPU and the model, where an experiment gives none."""

import pytest

from bros_sim.core.errors import InputError
from bros_sim.profiles.profile import load_profile, profile_ids
from bros_sim.schedulers.vllm_parameters import batch_defaults
from tests.cli.conftest import EXPERIMENT
from tests.config.test_experiment import points

SMALL, LARGE, LARGEST = (2048, 256), (8192, 1024), (16384, 1024)


def limits(text=EXPERIMENT, **changes):
    scheduler = points(text, **changes)[0].spec.system.scheduler
    return scheduler.max_num_batched_tokens, scheduler.max_num_seqs


@pytest.mark.parametrize(
    ("gpu", "memory_gib", "expected"),
    [
        ("NVIDIA B200", 178.35, LARGEST),
        ("made-up A100", 160.0, LARGEST),
        ("AMD Instinct MI300X", 159.9, LARGE),
        ("NVIDIA H100 80GB HBM3", 70.0, LARGE),
        ("NVIDIA H100 64GB", 69.9, SMALL),
        ("NVIDIA A100-SXM4-80GB", 79.25, SMALL),
        ("NVIDIA GB10", 119.6, SMALL),
    ],
)
def test_the_tiers_of_vllm(gpu, memory_gib, expected):
    assert batch_defaults(gpu, memory_gib) == expected


def test_each_shipped_gpu_is_in_its_tier():
    small = ("a100-40gb", "a100-80gb", "l40s-48gb", "rtx4090")
    tiers = dict.fromkeys(small, SMALL)
    for name in profile_ids():
        gpu = load_profile(name).gpu
        expected = tiers.get(name.partition("/")[0], LARGE)
        assert batch_defaults(gpu.name, gpu.memory_gib) == expected, name


@pytest.mark.parametrize(
    ("profile", "expected"),
    [("a100-80gb/llama-3-8b-tp1", SMALL), ("h200-141gb/llama-3-8b-tp1", LARGE)],
)
def test_an_experiment_takes_the_limits_of_its_gpu(profile, expected):
    assert limits(cluster__profile=profile) == expected


def test_a_grid_over_profiles_and_limits():
    grid = "{cluster.profile: [a100-80gb/llama-3-8b-tp1, h100-80gb/llama-3-8b-tp1]}"
    found = [p.spec.system.scheduler.max_num_seqs for p in points(sweep__grid=grid)]
    assert found == [256, 1024, 256, 1024]
    grid = "{systems.FCFS.scheduler.max_num_seqs: [8, 16]}"
    found = [p.spec.system.scheduler.max_num_seqs for p in points(sweep__grid=grid)]
    assert found == [8, 16, 256, 256]


def test_defaults_keep_within_each_other_and_the_model_length():
    assert limits(systems__FCFS__scheduler__max_num_batched_tokens=100) == (100, 100)
    assert limits(systems__FCFS__scheduler__max_num_seqs=2000) == (2048, 2000)
    narrow = {"cluster__max_model_len": 10, "systems__FCFS__scheduler__max_num_seqs": 3}
    assert limits(**narrow) == (30, 3)
    whole = EXPERIMENT.replace("{kind: vllm}", "{kind: vllm, enable_chunked_prefill: false}")
    assert limits(whole) == (8192, 256)
    assert limits(whole, cluster__max_model_len=500) == (2048, 256)


def test_what_is_written_stays_and_is_checked():
    both = {"max_num_batched_tokens": 300, "max_num_seqs": 400}
    changes = {f"systems__FCFS__scheduler__{key}": value for key, value in both.items()}
    with pytest.raises(InputError, match="max_num_batched_tokens 300 is below max_num_seqs 400"):
        points(**changes)
    with pytest.raises(InputError, match="max_num_seqs: should be at least 1"):
        points(systems__FCFS__scheduler__max_num_seqs=0)


def test_vllm_v0_takes_the_model_length():
    old = EXPERIMENT.replace("{kind: vllm}", "{kind: vllm_v0}")
    assert limits(old) == (8192, 256)
    assert limits(old, cluster__profile="h100-80gb/llama-3-8b-tp1") == (8192, 256)
    assert limits(old, cluster__max_model_len=500) == (2048, 256)


def test_rivals_of_vllm_get_the_limits_of_vllm():
    text = EXPERIMENT.replace("{kind: vllm}", "{kind: edf}")
    assert limits(text, cluster__profile="a100-80gb/llama-3-8b-tp1") == SMALL
    assert limits(text, cluster__profile="h100-80gb/llama-3-8b-tp1") == LARGE
