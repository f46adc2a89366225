"""Model dimensions from config.json."""

import json

import pytest

from bros_sim.calibration.models import read_model_config
from bros_sim.core.errors import InputError
from bros_sim.profiles.profile import load_profile

LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}
OPT = {
    "model_type": "opt",
    "hidden_size": 5120,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "ffn_dim": 20480,
    "vocab_size": 50272,
    "word_embed_proj_dim": 5120,
    "max_position_embeddings": 2048,
    "torch_dtype": "float16",
}
QWEN3 = {
    **LLAMA,
    "model_type": "qwen3",
    "hidden_size": 5120,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "head_dim": 128,
    "intermediate_size": 17408,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "sliding_window": None,
    "use_sliding_window": False,
}


@pytest.fixture
def read(tmp_path):
    def read(**config):
        path = tmp_path / "some-model" / "config.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(config))
        return read_model_config(path)

    return read


@pytest.mark.parametrize(
    ("config", "profile"),
    [
        (LLAMA, "a100-80gb/llama-3-8b-tp2"),
        (OPT, "a100-80gb/opt-13b-tp4"),
        (QWEN3, "h100-80gb/qwen3-14b-tp1"),
    ],
)
def test_the_dimensions_are_those_of_the_shipped_profiles(read, config, profile):
    """Their numbers of parameters are the published ones."""
    known, dims = load_profile(profile), read(**config)
    shape = dims.shape
    assert shape.parameters == known.model.parameters
    assert (shape.heads, shape.kv_heads) == (known.model.heads, known.model.kv_heads)
    assert (shape.head_dim, shape.intermediate) == (known.model.head_dim, known.model.intermediate)
    assert dims.kv_bytes_per_token(known.tp) == known.kv_bytes_per_token
    assert dims.weight_bytes == 2 * known.model.parameters


def test_defaults_are_those_of_the_family(read):
    old = {key: LLAMA[key] for key in LLAMA if key != "num_key_value_heads"}
    assert read(**old).shape.kv_heads == 32
    assert read(**OPT).tied
    biases = 32 * (4096 + 2 * 1024)
    plain = read(**LLAMA).shape
    assert read(**LLAMA | {"model_type": "qwen2"}).shape.parameters == plain.parameters + biases
    assert plain.name == "some-model"
    assert read(**LLAMA, _name_or_path="meta/Llama-3-8B").shape.name == "Llama-3-8B"
    assert read(**LLAMA, _name_or_path="./").shape.name == "some-model"


def test_kv_heads_are_replicated_beyond_their_number(read):
    dims = read(**LLAMA)
    assert dims.kv_bytes_per_token(16) == 2 * dims.kv_bytes_per_token(8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "lama"}, "model_type: 'lama' is not covered (known: deepseek_v3, "),
        ({"hidden_size": "4096"}, "hidden_size: should be a valid integer"),
        ({"num_hidden_layers": 0}, "num_hidden_layers: should be at least 1 (got 0)"),
        ({"num_key_value_heads": 5}, "num_attention_heads 32 is not a multiple of 5"),
        ({"intermediate_size": None}, "intermediate_size: this key is missing"),
        ({"torch_dtype": None}, "torch_dtype: this key is missing"),
        ({"torch_dtype": "int8"}, "torch_dtype: "),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings: "),
        ({"model_type": None}, "model_type: "),
        ({"model_type": "mistral", "num_key_value_heads": None}, "num_key_value_heads: this key"),
        ({"model_type": "qwen3"}, "head_dim: this key is missing; its default differs"),
        ({"quantization_config": {"bits": 4}}, "quantization_config.quant_method: this key"),
        ({"num_local_experts": 8}, "num_local_experts: a mixture of experts, which"),
        ({"kv_lora_rank": 512}, "kv_lora_rank: latent attention (MLA), which"),
        ({"attention_bias": True}, "attention_bias: biases on attention"),
    ],
)
def test_faults_name_the_key(read, change, said):
    with pytest.raises(InputError) as error:
        read(**LLAMA | change)
    (line,) = error.value.lines
    assert "some-model/config.json: " in line
    assert said in line


@pytest.mark.parametrize("key", ["enable_bias", "do_layer_norm_before"])
def test_variants_of_opt_are_refused(read, key):
    with pytest.raises(InputError, match="must be true; others are not covered"):
        read(**OPT | {key: False})


def test_all_faults_at_once(read):
    with pytest.raises(InputError) as error:
        read(model_type="llama")
    assert len(error.value.lines) == 5


def test_text_that_is_no_json(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{\n "model_type": llama}')
    with pytest.raises(InputError, match=r"config.json:2:16: not JSON"):
        read_model_config(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_model_config(tmp_path / "nothing.json")
