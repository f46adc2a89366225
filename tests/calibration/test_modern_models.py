"""Mixtures of experts, latent attention, windows and quantized weights, from configs to profiles.

The files of tests/data/models have the sizes that the publishers' config.json files state.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from calibration.test_layerwise import SHARED, needs_tables
from typer.testing import CliRunner

from bros_sim.calibration.derive import derive, roofline_of
from bros_sim.calibration.gpus import KNOWN_GPUS, find_gpu
from bros_sim.calibration.models import read_model_config
from bros_sim.calibration.profiles import Target, write_profile
from bros_sim.cli import app
from bros_sim.core.errors import InputError
from bros_sim.engine.latency_model import StepShape
from bros_sim.latency.term_parameters import PerSequence, Validity
from bros_sim.profiles.profile import load_profile

MODELS = Path(__file__).parents[1] / "data" / "models"


def known(name):
    return read_model_config(MODELS / f"{name}.json")


@pytest.fixture
def changed(tmp_path):
    """A known model with other keys."""

    def changed(name, **keys):
        path = tmp_path / f"{name}.json"
        data = json.loads((MODELS / path.name).read_text())
        path.write_text(json.dumps(data | keys))
        return read_model_config(path)

    return changed


@pytest.mark.parametrize(
    ("name", "parameters", "active", "weights", "kv", "length"),
    [
        ("qwen3-30b-a3b", 30_532_122_624, 3.35e9, 61.06e9, 2 * 48 * 4 * 128 * 2, 40960),
        ("deepseek-v3", 671_026_419_200, 37.55e9, 673.2e9, 61 * (512 + 64) * 2, 163840),
        ("gpt-oss-20b", 20_914_757_184, 4.19e9, 13.76e9, 2 * 12 * 8 * 64 * 2, 131072),
        ("llama-4-scout", 107_769_861_120, 17.17e9, 215.5e9, 2 * 48 * 8 * 128 * 2, 10485760),
        ("gemma-3-27b", 27_009_346_304, 27.01e9, 54.02e9, 2 * 10 * 16 * 128 * 2, 131072),
        ("qwen3-32b-fp8", 32_762_123_264, 32.76e9, 34.32e9, 2 * 64 * 8 * 128 * 2, 40960),
        ("mistral-7b", 7_241_732_096, 7.24e9, 14.48e9, 2 * 32 * 8 * 128 * 2, 32768),
    ],
)
def test_the_sizes_are_those_the_publishers_count(name, parameters, active, weights, kv, length):
    found = known(name)
    assert found.shape.parameters == parameters
    assert found.shape.active_parameters == pytest.approx(active, rel=2e-3)
    assert found.weight_bytes == pytest.approx(weights, rel=1e-3)
    assert found.kv_bytes_per_token() == kv
    assert found.shape.max_model_len == length


def test_a_latent_kv_is_kept_on_every_gpu_and_heads_are_split():
    assert known("deepseek-v3").kv_bytes_per_token(8) == 8 * 70272
    assert known("qwen3-30b-a3b").kv_bytes_per_token(4) == 98304


@pytest.mark.parametrize(
    ("quantization", "bits"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, 4 + 20 / 128),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, 8),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, 4 + 20 / 64),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, 8),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "int"}}},
            },
            8,
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": 128}}},
            },
            4 + 16 / 128,
        ),
    ],
)
def test_bits_of_quantized_weights(changed, quantization, bits):
    """Embeddings, LM head and norms stay in the type of the model."""
    found = changed("qwen3-32b-fp8", quantization_config=quantization)
    matrices = 64 * (2 * 5120 * (8192 + 1024) + 3 * 5120 * 25600)
    rest = 2 * (found.shape.parameters - matrices)
    assert found.weight_bytes == rest + matrices * bits / 8
    assert "bits a value" in found.notes[0]


@pytest.mark.parametrize(
    ("rope", "length"),
    [
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, 131072),
        ({"type": "linear", "factor": 2.0}, 81920),
        ({"rope_type": "dynamic", "factor": 2.0}, 81920),
        ({"rope_type": "llama3", "factor": 8.0}, 40960),
        ({"rope_type": "longrope", "factor": 8.0}, 40960),
        ({"type": "su", "factor": 8.0}, 40960),
        ({"rope_type": "default", "rope_theta": 1e6}, 40960),
        (None, 40960),
    ],
)
def test_scaled_positions_give_the_length_that_vllm_computes(changed, rope, length):
    for key in ("rope_scaling", "rope_parameters"):
        assert changed("qwen3-30b-a3b", **{key: rope}).shape.max_model_len == length


def test_windows_keep_a_constant_and_do_not_cut_requests():
    gemma, mistral = known("gemma-3-27b"), known("mistral-7b")
    assert gemma.shape.window_bytes(1, "bfloat16") == 52 * 1024 * 2 * 16 * 128 * 2
    assert gemma.cache_bytes_per_token() == 81920 + 52 * 8192 * 1024 // 4096 * 1
    assert "KV bytes of 52 of 62 layers stop growing at 1,024 tokens" in gemma.notes[0]
    assert mistral.shape.windows is None
    assert "32 of 32 layers attend to 4,096 tokens at most" in mistral.notes[0]
    assert "36 of 48 layers attend to 8,192" in " ".join(known("llama-4-scout").notes)


def test_layers_without_experts_are_counted_as_dense(changed):
    every, some = known("qwen3-30b-a3b"), changed("qwen3-30b-a3b", mlp_only_layers=[0, 1])
    moe = 128 * 3 * 2048 * 768 + 128 * 2048
    assert every.shape.parameters - some.shape.parameters == 2 * (moe - 3 * 2048 * 6144)
    half = changed("qwen3-30b-a3b", decoder_sparse_step=2)
    assert half.shape.experts.parameters == every.shape.experts.parameters / 2


@pytest.mark.parametrize(
    ("name", "keys", "said"),
    [
        ("qwen3-next", {}, "'qwen3_next' is not covered: linear attention keeps a state"),
        ("qwen3-next", {"model_type": "new"}, "'new' is not covered: linear attention"),
        ("qwen3-30b-a3b", {"model_type": "qwen9_moe"}, "not covered: a mixture of experts"),
        ("deepseek-v3", {"model_type": "v9", "n_routed_experts": 0}, "covered: latent attention"),
        ("mistral-7b", {"model_type": "mistrol"}, "'mistrol' is not covered (known: deepseek_v3"),
        (
            "qwen3-30b-a3b",
            {"model_type": "qwen3"},
            "a mixture of experts, which model_type 'qwen3'",
        ),
        ("qwen3-30b-a3b", {"num_experts_per_tok": 200}, "num_experts_per_tok: 200 of 128 experts"),
        ("gpt-oss-20b", {"layer_types": ["linear_attention"]}, "'linear_attention' is not covered"),
        ("gpt-oss-20b", {"rope_scaling": {"type": "yarn", "factor": 2}}, "yarn needs original"),
        ("qwen3-32b-fp8", {"quantization_config": {"quant_method": "hqq"}}, "'hqq' is not covered"),
        ("qwen3-32b-fp8", {"quantization_config": {"bits": 4}}, "quant_method"),
    ],
)
def test_what_is_not_covered_is_refused_with_the_reason_and_no_wrong_hint(
    changed, name, keys, said
):
    with pytest.raises(InputError) as error:
        changed(name, **keys)
    (line,) = error.value.lines
    assert said in line
    assert "did you mean" not in line


def peak_ms(name, gpu, tp=1):
    model = roofline_of(Target(find_gpu(gpu), known(name), tp), PerSequence(), Validity()).make()
    return lambda *shape: 1e3 * model.step_s(StepShape(*shape))


def test_tokens_read_the_experts_that_they_pass():
    """By hand: 1.32 times the bytes of what is read, and 1.31 the KV, at 3,352 GB/s."""
    ms, shape = peak_ms("qwen3-30b-a3b", "h100-80gb"), known("qwen3-30b-a3b").shape
    experts = 2 * shape.experts.parameters
    rest = 2 * shape.parameters - experts - 2 * 151936 * 2048
    elementwise = 48 * 2 * (6 * 2048 + 3 * 8 * 768) / (0.8 * 3352e6)
    for n in (1, 16, 64):
        passed = 1 - (1 - 8 / 128) ** n
        kv = 1.31 * 98304 * 1000 * n / 3352e6
        by_hand = 1.32 * (rest + experts * passed) / 3352e6 + 48 * 0.0325 + n * elementwise + kv
        assert ms((), n, 1000 * n) == pytest.approx(by_hand, rel=1e-4)
    active = shape.active_parameters - 2 * 151936 * 2048
    long = ms(((8192, 0),), 0, 0) - ms(((4096, 0),), 0, 0)
    pairs = 1.43 * 4 * 32 * 128 * 48 * (8192**2 - 4096**2) / 2 / 989e9
    assert long == pytest.approx(4096 * (1.31 * 2 * active / 989e9 + elementwise) + pairs, rel=1e-4)


def test_windows_cost_a_constant_and_latent_attention_its_operations():
    windows = 1.31 * 12 * 128 * 2 * 8 * 64 * 2 / 3352e6
    ms = peak_ms("gpt-oss-20b", "h100-80gb")
    kv = 1.31 * 24576 * 1000 / 3352e6
    assert ms((), 1, 2000) - ms((), 1, 1000) == pytest.approx(kv, rel=1e-3)
    model = roofline_of(
        Target(find_gpu("h100-80gb"), known("gpt-oss-20b"), 1), PerSequence(), Validity()
    )
    assert model.decode_per_seq_ms == pytest.approx(windows, rel=1e-4)
    one, eight = (peak_ms("deepseek-v3", "h20-96gb", tp) for tp in (1, 8))
    operations = 1.43 * 61 * 4 * 128 * 576 * 1000 / 148e9  # of all heads on all values
    assert one((), 1, 2000) - one((), 1, 1000) == pytest.approx(operations, rel=1e-3)
    kv = 1.31 * 70272 * 1000 / 4000e6  # heads are split over GPUs, the KV is not
    assert eight((), 1, 2000) - eight((), 1, 1000) == pytest.approx(kv, rel=1e-3)


def test_prefill_attends_to_all_tokens_in_full_layers_and_to_windows_in_the_others():
    ms, parameters = peak_ms("gemma-3-27b", "h100-80gb"), 27_009_346_304 - 262208 * 5376
    elementwise = 62 * 2 * (6 * 5376 + 3 * 21504) / (0.8 * 3352e6)
    pair = 1.43 * 4 * 32 * 128 / 989e9
    a_token = 1.31 * 2 * parameters / 989e9 + elementwise + pair * 52 * 1024
    by_hand = 4096 * a_token + pair * 10 * (8192**2 - 4096**2) / 2
    assert ms(((8192, 0),), 0, 0) - ms(((4096, 0),), 0, 0) == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize("name", ["qwen3-30b-a3b", "gpt-oss-20b", "gemma-3-27b", "qwen3-32b-fp8"])
def test_derive_says_what_is_modelled_and_the_profile_passes_its_check(name, tmp_path):
    path = tmp_path / "made.yaml"
    config = str(MODELS / f"{name}.json")
    words = ["profile", "derive", "--gpu", "h100-80gb", "--model", config, "--out", str(path)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    profile = load_profile(path)
    for note in (*known(name).notes, *known(name).time_notes):
        assert note in " ".join(done.stdout.split())
        assert note in profile.notes
    assert f"KV {profile.kv_bytes_per_token:,} bytes a token" in done.stdout
    assert profile.kv.num_gpu_blocks == profile.derived_num_gpu_blocks
    assert profile.uncertainty["roofline"].scale_pct == 25
    assert CliRunner().invoke(app, ["profile", "check", str(path)]).exit_code == 0
    words = ["profile", "plan", "--gpu", "h100-80gb", "--model", config]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "shapes.json")])
    assert f"room for {profile.kv.num_gpu_blocks - 1:,} KV blocks" in done.stdout


def test_requests_longer_than_the_window_are_served(tmp_path):
    write_profile(
        tmp_path / "mistral.yaml",
        derive(Target(find_gpu("h100-80gb"), known("mistral-7b"), 1), None),
    )
    (tmp_path / "trace.csv").write_text(
        "arrival_s,prompt_tokens,output_tokens\n0,1000,20\n1,3900,250\n2,6000,100\n3,4096,1\n"
    )
    (tmp_path / "exp.yaml").write_text(
        "name: swa\nduration_s: 30\ncluster: {profile: mistral.yaml}\n"
        "workload: {chat: {class: rt, arrivals: {kind: replay, path: trace.csv}}}\n"
        "systems: {vLLM: {scheduler: {kind: vllm}, kv: {kind: paged}}}\n"
    )
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["run", str(tmp_path / "exp.yaml"), "--out", str(out)])
    assert done.exit_code == 0, done.output
    (rows,) = out.rglob("requests.parquet")
    assert list(pd.read_parquet(rows)["status"]) == ["completed"] * 4


@pytest.mark.parametrize("verb", ["derive --tables .", "measure"])
def test_tools_for_dense_models_refuse_the_others(verb, tmp_path):
    name, *rest = verb.split()
    config = str(MODELS / "gpt-oss-20b.json")
    words = ["profile", name, "--model", config, *rest, "--out", str(tmp_path / "a.csv")]
    more = ["--gpu", "h100-80gb"] if name == "derive" else ["--shapes", "shapes.json"]
    done = CliRunner().invoke(app, [*words, *more])
    assert done.exit_code == 2
    assert "does not cover a mixture of experts, layers with windows, quantized" in done.stderr


@pytest.mark.parametrize(
    ("gpu", "gb_s", "tflops"),
    [
        ("h200-141gb", 4800, 989), ("b200-180gb", 8000, 2250), ("h20-96gb", 4000, 148),
        ("l4-24gb", 300, 121), ("a10-24gb", 600, 125), ("l40s-48gb", 864, 362),
        ("h100-pcie-80gb", 2039, 756), ("a100-40gb", 1555, 312), ("a100-80gb", 2039, 312),
    ],
)  # fmt: skip
def test_cards_have_their_data_sheets_numbers_and_name_them(gpu, gb_s, tflops):
    facts = KNOWN_GPUS[gpu]
    assert (facts.bandwidth_gb_s, facts.peak_tflops) == (gb_s, tflops)
    assert "NVIDIA" in facts.source


@needs_tables
def test_the_rule_misses_layer_times_of_a_mixture_by_what_its_band_states():
    """The uniform rule says how many experts are activated; the tables how long these take."""
    tables = SHARED / "rtxpro6000_qwen3-30b-a3b_tp1"
    dense, moe, heads, attention = (
        pd.read_csv(tables / f"{name}.csv.gz")
        for name in ("dense", "moe", "per_sequence", "attention")
    )
    once, twice = {"embedding", "final_layernorm"}, {"layernorm"}
    ms = peak_ms("qwen3-30b-a3b", "rtxpro6000")

    def measured_ms(tokens, sequences, cell):
        activated = 128 * (1 - (1 - 8 / 128) ** tokens)
        at = moe[moe["tokens"] == tokens]
        block = np.interp(activated, at["activated_experts"], at["time_us"])
        block += attention.loc[cell, "time_us"].iloc[0]
        outside = 0.0
        for layer, rows in dense.groupby("layer"):
            time = np.interp(tokens, rows["tokens"], rows["time_us"])
            outside += time * (layer in once)
            block += time * (layer not in once) * (2 if layer in twice else 1)
        for _, rows in heads.groupby("layer"):
            outside += np.interp(sequences, rows["sequences"], rows["time_us"])
        return (outside + 48 * block) / 1e3

    errors = []
    chunk, batch = attention["prefill_chunk"], attention["n_decode"]
    for n in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        cell = (chunk == 0) & (batch == n) & (attention["kv_decode"] == 1024)
        errors.append(ms((), n, 1024 * n) / measured_ms(n, n, cell) - 1)
    for n in (128, 256, 512, 1024, 2048):
        cell = (chunk == n) & (batch == 0) & (attention["kv_prefill"] == 0)
        errors.append(ms(((n, 0),), 0, 0) / measured_ms(n, 1, cell) - 1)
    assert 100 * (np.square(errors).mean() ** 0.5) == pytest.approx(19, abs=0.5)
