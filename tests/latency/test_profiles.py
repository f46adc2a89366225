import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from bros_sim.calibration.step_rows import sample_shapes
from bros_sim.config.components import plain
from bros_sim.core.errors import InputError
from bros_sim.engine.latency_model import StepShape
from bros_sim.latency import LATENCY_MODELS
from bros_sim.latency.parameters import Hybrid, Linear, Roofline, Table
from bros_sim.latency.term_parameters import KERNELS_ALONE
from bros_sim.profiles.profile import (
    DEFAULT_PROFILE,
    GIB,
    Models,
    load_profile,
    profile_ids,
    profile_path,
)

SHARED = Path(__file__).parents[3] / "shared" / "data" / "profiles"
TABLE_FILE = Path(__file__).parent / "table_profile.yaml"
IDS = profile_ids()
KERNEL_IDS = [name for name in IDS if load_profile(name).label.startswith("Kernel-calibrated")]
LAYER_IDS = [name for name in IDS if load_profile(name).label.startswith("Layer-calibrated")]
EVERY_PROFILE = pytest.mark.parametrize("name", IDS)


def test_shipped_profiles_are_all_there():
    assert len(KERNEL_IDS) == 19
    assert len(LAYER_IDS) == 4
    assert len(IDS) == 38
    assert DEFAULT_PROFILE in KERNEL_IDS
    assert list(LATENCY_MODELS) == list(Models.__dataclass_fields__)


@EVERY_PROFILE
def test_a_shipped_profile_says_what_it_is(name):
    profile = load_profile(name)
    assert profile.id == name
    assert profile.gpu.memory_gib * profile.tp > 2 * profile.model.parameters / GIB
    assert profile.model.heads % profile.tp == 0
    if profile.derived_num_gpu_blocks is None:
        assert profile.kv.basis.startswith("stated ")
    else:
        assert profile.kv.num_gpu_blocks == profile.derived_num_gpu_blocks
        assert profile.kv.basis.startswith("derived: ")
        sizes = profile.kv_bytes_per_token, 16 * profile.kv_bytes_per_token
        assert any(str(size) in profile.kv.basis for size in sizes)
    for model in profile.models.by_kind().values():
        assert model.validity.max_tokens
        assert model.validity.max_decode_jobs


@EVERY_PROFILE
def test_times_respect_the_hardware(name):
    """Slower than reading the weights and than the peak of the matrix units, not absurdly so."""
    profile = load_profile(name)
    peak_tflops = {
        "A100": 312, "H100": 989, "H200": 989, "L40S": 362, "GeForce RTX 4090": 178,
        "RTX PRO 6000": 504,
    }  # fmt: skip
    tflops = next(v for k, v in peak_tflops.items() if k in profile.gpu.name) * profile.tp
    weights = profile.model.active_parameters  # of one token
    others = profile.model.parameters / weights
    read_s = 2 * weights / profile.tp / profile.gpu.bandwidth_gb_s / 1e9
    compute_s = 2 * weights * 2048 / tflops / 1e12
    for parameters in profile.models.by_kind().values():
        model = parameters.make()
        one, many = (model.step_s(StepShape((), n, 1024 * n)) for n in (1, 64))
        prefill = model.step_s(StepShape(((2048, 0),), 0, 0))
        assert read_s < one < (2.4 if "opt" not in name else 9) * read_s
        assert one < many < 8 * one * others
        # All-reduces over PCIe come on top; a mixture reads all of its experts for a prompt.
        slowest = 4.1 if "opt" in name else 2.8 if "rtxpro6000" in name and profile.tp > 1 else 2.6
        assert compute_s < prefill < slowest * max(compute_s, others * read_s)


@pytest.mark.parametrize("name", KERNEL_IDS)
def test_roofline_is_as_close_to_the_hybrid_as_it_says(name):
    profile = load_profile(name)
    shapes = sample_shapes(profile.coefficients(Hybrid).validity, 3000, seed=2)
    kernels = replace(profile.coefficients(Hybrid), engine=KERNELS_ALONE)
    alone = replace(profile.coefficients(Roofline), engine=KERNELS_ALONE)
    hybrid, roofline = kernels.make(), alone.make()
    assert not any(hybrid.extrapolates(shape) for shape in shapes)
    truth = np.array([hybrid.step_s(shape) for shape in shapes])
    error = 100 * (np.array([roofline.step_s(shape) for shape in shapes]) / truth - 1)
    stated = profile.errors["roofline"]
    assert np.abs(error).mean() == pytest.approx(stated.mape_pct, abs=0.06)
    assert np.percentile(np.abs(error), 95) == pytest.approx(stated.p95_pct, abs=0.06)
    assert error.mean() == pytest.approx(stated.bias_pct, abs=0.06)


def test_default_profile_by_hand():
    model = load_profile(DEFAULT_PROFILE).coefficients(Hybrid).make()
    tokens, head, overhead = 11.1397, 0.581103 + 64 * 0.00186411, 0.46 + 64 * 0.0146
    decode = tokens + head + overhead + 0.358336 + 65536 * 7.89901e-05
    assert model.step_s(StepShape((), 64, 65536)) == pytest.approx(decode / 1e3)
    prefill = 115.044 + 0.581103 + 0.00186411 + 0.46 + 0.00822898 + 2048 * 1024 * 3.31204e-06
    assert model.step_s(StepShape(((2048, 0),), 0, 0)) == pytest.approx(prefill / 1e3)


def test_kv_size():
    profile = load_profile(DEFAULT_PROFILE)
    assert profile.kv_bytes_per_token == 2 * 32 * 8 * 128 * 2
    usable = (79.25 * 0.9 - 1.25) * 2**30 - 2 * 8_030_261_248
    assert profile.kv.num_gpu_blocks == usable // (16 * 131_072)


def shared(filename):
    path = SHARED / filename
    if not path.exists():
        pytest.skip(f"{filename} is not beside the repository")
    return YAML(typ="safe", pure=True).load(path)


def test_opt_coefficients_are_the_published_ones():
    fits = shared("opt_a100_published_fits.yaml")["fits"]
    for key in (key for key in fits if key.endswith("/vllm")):
        model = load_profile(key.removesuffix("/vllm")).coefficients(Linear)
        prefill = [
            model.prefill_ms,
            model.prefill_per_token_ms,
            model.prefill_per_token2_ms,
        ]
        assert prefill == fits[key]["prefill"]
        assert model.large_batch_from == fits[key]["threshold_batch"]
        for line, name in ((model.decode, "decode_small"), (model.large_batch, "decode_large")):
            assert [line.const_ms, line.per_kv_token_ms, line.per_seq_ms] == fits[key][name]


def test_derived_40gb_profile_states_and_applies_its_factor():
    big, small = (load_profile(f"a100-{size}gb/opt-13b-tp2") for size in (80, 40))
    assert small.label.startswith("Derived")
    assert small.kv.num_gpu_blocks == pytest.approx(3600, rel=0.02)
    before, after = big.coefficients(Linear), small.coefficients(Linear)
    weights_gb = 12_853_473_280 / 1e9  # fp16, half of them on each GPU
    for old, new in ((before.decode, after.decode), (before.large_batch, after.large_batch)):
        assert new.per_kv_token_ms == pytest.approx(old.per_kv_token_ms * 2039 / 1555, rel=1e-5)
        added = weights_gb * (1 / 1555 - 1 / 2039) * 1e3
        assert new.const_ms == pytest.approx(old.const_ms + added, abs=1e-4)
        assert new.per_seq_ms == old.per_seq_ms
    assert after.prefill_per_token_ms == before.prefill_per_token_ms


def test_own_profile_by_path_and_missing_model():
    profile = load_profile(TABLE_FILE)
    assert profile.kv.num_gpu_blocks == 2588
    assert profile.derived_num_gpu_blocks is None
    assert profile.coefficients(Table) is profile.models.table
    with pytest.raises(InputError, match=r"lab/tiny-tp1 has no .* 'linear' \(known: table\)"):
        profile.coefficients(Linear)


def test_profiles_write_back_what_they_read():
    data = plain(load_profile(DEFAULT_PROFILE))
    assert json.loads(json.dumps(data)) == data
    assert data["kv"]["num_gpu_blocks"] == 28_220


def test_unknown_id_suggests_the_nearest():
    with pytest.raises(InputError, match="did you mean 'h100-80gb/llama-3-8b-tp1'"):
        profile_path("h100-80/llama-3-8b-tp1")


FAULTS = {
    "num_gpu_blocks: 2588": [
        ("num_gpu_block: 2588", ":18:6: kv.num_gpu_block: unknown key (did you mean"),
        ("num_gpu_blocks: many", ":18:22: kv.num_gpu_blocks: "),
        ("num_gpu_blocks: 1", ":18:22: kv.num_gpu_blocks: "),
    ],
    "dtype: bfloat16": [("dtype: bfloat17", "did you mean 'bfloat16'?")],
    "default_model: table": [("default_model: hybrid", "'hybrid' has no coefficients")],
    "n: [1, 100, 1000]": [
        ("n: [100, 1, 1000]", ":24:13: models.table.tokens: n must increase strictly"),
        ("n: [1, 100]", "equally long (n has 2, ms has 3)"),
        ("n: [1, 1.5, 1000]", "models.table.tokens.n.1: "),
    ],
    "ms: [5.0, 6.0, 24.0]": [
        ("ms: [5.0, .nan, 24.0]", "models.table.tokens.ms.1: "),
        ("ms: [5.0, -6.0, 24.0]", "models.table.tokens.ms.1: "),
    ],
    "[3.0, 8.0]]": [("[3.0]]", "ms needs 2 rows (chunk) of 2 numbers each")],
    "  table:\n": [("  tabel:\n", "models.tabel: unknown key (did you mean 'table'?)")],
    "errors: {table:": [("errors: {hybrid:", "errors must name exactly the models: table")],
    "tp: 1": [("tp: 1\ntp: 2", "duplicate key")],
}


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [(good, bad, message) for good, cases in FAULTS.items() for bad, message in cases],
)
def test_a_fault_in_a_profile_is_one_clear_line(tmp_path, good, bad, message):
    text = TABLE_FILE.read_text(encoding="utf-8")
    assert good in text
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace(good, bad, 1), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_profile(file)
    lines = [line for line in caught.value.lines if message in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"{file}:")
    assert "\n" not in lines[0]
    assert len(caught.value.lines) <= 2
