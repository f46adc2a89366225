import json
from pathlib import Path

import pytest
from calibration.synthetic import write_tables

from bros_sim.calibration.derive import derive, roofline_of
from bros_sim.calibration.fit import error_pct
from bros_sim.calibration.gpus import KNOWN_GPUS, find_gpu
from bros_sim.calibration.kernels import held_out_rows, kernels_of
from bros_sim.calibration.kernels_dense import is_tied, mlp_matrices
from bros_sim.calibration.models import ModelConfig, find_model, model_slug
from bros_sim.calibration.profiles import Target, write_profile
from bros_sim.core.errors import InputError
from bros_sim.engine.latency_model import StepShape
from bros_sim.latency.parameters import Roofline
from bros_sim.latency.term_parameters import PerSequence, Validity
from bros_sim.profiles.profile import load_profile, profile_ids

LLAMA = Path(__file__).parents[1] / "data" / "calibration" / "llama.json"
LLAMA_2 = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "vocab_size": 32000,
    "num_attention_heads": 32, "num_hidden_layers": 32, "max_position_embeddings": 4096,
    "torch_dtype": "float16",
}  # fmt: skip
QWEN_25 = {
    "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "vocab_size": 152064,
    "num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4,
    "max_position_embeddings": 32768, "tie_word_embeddings": False, "dtype": "bfloat16",
    "sliding_window": 131072, "use_sliding_window": False,
}  # fmt: skip
QWEN_05 = QWEN_25 | {
    "hidden_size": 896, "intermediate_size": 4864, "vocab_size": 151936, "num_attention_heads": 14,
    "num_hidden_layers": 24, "num_key_value_heads": 2, "tie_word_embeddings": True,
}  # fmt: skip
QWEN_3 = QWEN_25 | {
    "model_type": "qwen3", "hidden_size": 5120, "intermediate_size": 17408, "vocab_size": 151936,
    "num_attention_heads": 40, "num_hidden_layers": 40, "num_key_value_heads": 8, "head_dim": 128,
}  # fmt: skip
MISTRAL = LLAMA_2 | {
    "model_type": "mistral", "intermediate_size": 14336, "num_key_value_heads": 8,
    "sliding_window": 4096, "torch_dtype": "bfloat16",
}  # fmt: skip
NEMO = MISTRAL | {
    "hidden_size": 5120, "head_dim": 128, "num_hidden_layers": 40, "vocab_size": 131072,
    "sliding_window": None,
}  # fmt: skip
OPT = {
    "model_type": "opt", "hidden_size": 5120, "ffn_dim": 20480, "num_attention_heads": 40,
    "num_hidden_layers": 40, "vocab_size": 50272, "max_position_embeddings": 2048,
    "word_embed_proj_dim": 5120, "torch_dtype": "float16", "do_layer_norm_before": True,
}  # fmt: skip


def config(tmp_path, data):
    file = tmp_path / "my-model.json"
    file.write_text(json.dumps(data, indent=1))
    return file


@pytest.mark.parametrize(
    ("data", "parameters", "kv_heads", "head_dim", "dtype"),
    [
        (LLAMA_2, 6_738_415_616, 32, 128, "float16"),
        (QWEN_25, 7_615_616_512, 4, 128, "bfloat16"),
        (QWEN_05, 494_032_768, 2, 64, "bfloat16"),
        (QWEN_3, 14_768_307_200, 8, 128, "bfloat16"),
        (MISTRAL, 7_241_732_096, 8, 128, "bfloat16"),
        (NEMO, 12_247_782_400, 8, 128, "bfloat16"),
        (OPT, 12_853_473_280, 40, 128, "float16"),
    ],
)
def test_the_parameters_are_those_the_publishers_count(
    tmp_path, data, parameters, kv_heads, head_dim, dtype
):
    found = find_model(str(config(tmp_path, data)))
    assert found.shape.parameters == parameters
    assert (found.shape.kv_heads, found.shape.head_dim, found.dtype) == (kv_heads, head_dim, dtype)
    assert mlp_matrices(found.shape) == (2 if data["model_type"] == "opt" else 3)
    assert is_tied(found.shape) == found.tied
    assert found.shape.name == "my-model"


def test_a_config_is_the_model_of_the_shipped_profile():
    shipped = load_profile("a100-80gb/llama-3-8b-tp1").model
    found = find_model(str(LLAMA)).shape
    assert found.name == "Meta-Llama-3-8B"
    assert found.parameters == shipped.parameters
    assert find_model("llama-3-8b").shape == shipped


def test_types_of_weights(tmp_path):
    stated = config(tmp_path, LLAMA_2 | {"torch_dtype": "torch.bfloat16"})
    assert find_model(str(stated)).dtype == "bfloat16"
    stated = config(tmp_path, LLAMA_2 | {"torch_dtype": "float32"})
    with pytest.raises(InputError, match="engines run float32 weights as float16 or bfloat16"):
        find_model(str(stated))


def target(gpu, tp=1):
    return Target(find_gpu(gpu), find_model(str(LLAMA)), tp)


def test_from_a_data_sheet(tmp_path):
    profile = derive(target("rtx4090"), None)
    assert profile.id == "rtx4090/meta-llama-3-8b-tp1"
    assert profile.label == "Derived from data sheet peaks (nothing measured)"
    assert profile.uncertainty["roofline"].scale_pct == 20
    assert profile.kv.num_gpu_blocks == profile.derived_num_gpu_blocks
    assert derive(target("rtx4090", 2), None).host.kv_gib == 128
    assert str(profile.kv_bytes_per_token) in profile.kv.basis
    write_profile(tmp_path / "p.yaml", profile)
    assert load_profile(tmp_path / "p.yaml") == profile


def test_its_terms_by_hand():
    target = Target(KNOWN_GPUS["a100-80gb"], find_model(str(LLAMA)), 1)
    model, shape = roofline_of(target, PerSequence(), Validity()).make(), target.config.shape
    weights = 2 * (shape.parameters - 128256 * 4096) / 2039e9
    elementwise = 32 * 2 * (6 * 4096 + 3 * 14336) / (0.8 * 2039e9)
    decode = 1.32 * weights + 32 * 0.0325e-3 + elementwise + 1.31 * 131072 * 1000 / 2039e9
    assert model.step_s(StepShape((), 1, 1000)) == pytest.approx(decode, rel=1e-4)
    layers = shape.parameters - 2 * 128256 * 4096
    pairs = 4 * 32 * 128 * 32 * 4096**2 / 2
    prefill = 32 * 0.0325e-3 + 4096 * (1.31 * 2 * layers / 312e12 + elementwise)
    prefill += 1.43 * pairs / 312e12
    assert model.step_s(StepShape(((4096, 0),), 0, 0)) == pytest.approx(prefill, rel=1e-4)


def test_two_gpus_share_the_work_but_not_the_all_reduce():
    one, two = (derive(target("a100-80gb", tp), None).models.roofline for tp in (1, 2))
    assert one.memory.const_ms / 2 < two.memory.const_ms < 0.6 * one.memory.const_ms
    assert two.compute.per_token_ms > one.compute.per_token_ms / 2
    assert two.decode_per_kv_token_ms == pytest.approx(one.decode_per_kv_token_ms / 2, rel=1e-4)


def test_from_tables_and_a_card_that_has_none(own_tables, tmp_path):
    profile = derive(target("a100-80gb"), own_tables)
    assert profile.label == "Derived from kernels (vLLM 0.14)"
    assert profile.errors["hybrid"].mape_pct < 3
    assert profile.uncertainty["hybrid"].scale_pct == 10
    # 200 TFLOPS and 1 TB/s, as the tables were made
    hybrid, layers = profile.models.hybrid.make(), 8_030_261_248 - 2 * 128256 * 4096
    half, full = (hybrid.step_s(StepShape(((n, 0),), 0, 0)) for n in (4096, 8192))
    elementwise = 32 * 2 * (6 * 4096 + 3 * 14336) / (0.8 * 2039e9)
    work = 4096 * (2 * layers / 200e12 + elementwise)
    work += 4 * 32 * 128 * 32 * (8192**2 - 4096**2) / 2 / 200e12
    assert full - half == pytest.approx(work, rel=0.03)
    write_profile(tmp_path / "p.yaml", profile)
    assert load_profile(tmp_path / "p.yaml") == profile
    with pytest.raises(InputError, match="no kernel tables of the GPU 'l4-24gb'"):
        derive(target("l4-24gb"), own_tables)


def test_the_same_tables_give_the_same_bytes(own_tables, tmp_path):
    for name in ("a.yaml", "b.yaml"):
        write_profile(tmp_path / name, derive(target("a100-80gb", 2), own_tables))
    assert (tmp_path / "a.yaml").read_bytes() == (tmp_path / "b.yaml").read_bytes()


def test_tables_that_cannot_be_read(tmp_path):
    folder = write_tables(tmp_path / "tables")
    with pytest.raises(InputError, match=r"vllm_gemm\.csv\.gz: cannot be read"):
        derive(target("a100-80gb"), tmp_path / "nowhere")
    (folder / "aiconfigurator" / "vllm_gemm.csv.gz").write_text("not a table")
    with pytest.raises(InputError, match=r"vllm_gemm\.csv\.gz: cannot be read"):
        derive(target("a100-80gb"), folder)


@pytest.mark.parametrize(
    ("gpu", "tp", "message"),
    [
        ("a100", 1, "did you mean"),
        ("a100-80gb", 3, "--tp 3: does not divide the model's 32 heads"),
    ],
)
def test_a_gpu_or_tp_that_cannot_be(gpu, tp, message):
    with pytest.raises(InputError, match=message):
        target(gpu, tp)


def test_weights_that_do_not_fit(tmp_path):
    big = find_model(str(config(tmp_path, OPT | {"num_hidden_layers": 200})))
    with pytest.raises(InputError, match=r"leave no room for a KV cache in 1 x 22\.17 GiB"):
        derive(Target(find_gpu("l4-24gb"), big, 1), None)


def test_a_card_of_ones_own(tmp_path):
    file = tmp_path / "card.yaml"
    file.write_text(
        "{id: lab-48gb, name: Lab card, memory_gib: 47.5, bandwidth_gb_s: 900, peak_tflops: 150,"
        " peer_gb_s: 25, host_gb_s: 25}\n"
    )
    assert derive(target(str(file)), None).gpu.name == "Lab card"
    file.write_text("{id: lab, name: Lab}\n")
    with pytest.raises(InputError, match="memory_gib"):
        find_gpu(str(file))


def test_the_rule_misses_kernel_sums_by_no_more_than_its_band(shared_tables):
    for name in ("a100-80gb/llama-3-8b-tp1", "h100-80gb/llama-2-70b-tp4"):
        profile, gpu_id = load_profile(name), name.partition("/")[0]
        kernels = kernels_of(shared_tables, gpu_id, profile.gpu, profile.model, profile.tp)
        rows = held_out_rows(kernels, profile.coefficients(Roofline).validity)
        config = ModelConfig(profile.model, "float16", tied=False)
        target = Target(KNOWN_GPUS[gpu_id], config, profile.tp)
        model = roofline_of(target, PerSequence(), Validity())
        assert (error_pct(model, rows) ** 2).mean() ** 0.5 < 20


def test_known_gpus_are_those_of_the_shipped_profiles():
    one_each = {name.partition("/")[0]: name for name in profile_ids()}
    for gpu_id, name in one_each.items():
        assert find_gpu(gpu_id).gpu() == load_profile(name).gpu
    assert model_slug("a100-80gb/opt-13b-tp2") == "opt-13b"
    with pytest.raises(InputError, match="did you mean 'opt-13b'"):
        find_model("opt-13")
