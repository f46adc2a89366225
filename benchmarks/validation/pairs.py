"""The profile that predicts a model on a GPU: the shipped one, else a derived one."""

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from bros_sim.calibration.derive import derive
from bros_sim.calibration.gpus import KNOWN_GPUS
from bros_sim.calibration.kernels_tables import MADE_WITH
from bros_sim.calibration.models import ModelConfig, find_model, read_model_config
from bros_sim.calibration.profiles import Target
from bros_sim.profiles.profile import Profile, load_profile, profile_ids

SAME_SHAPE = {"llama-3.1-8b": "llama-3-8b", "llama-3.1-70b": "llama-3-70b"}
"""Models whose layers are those of a shipped one."""
CONFIGS = {
    "llama-3.2-3b": ("llama", True, (28, 3072, 24, 8, 128, 8192, 128256, 131072)),
    "qwen2.5-1.5b": ("qwen2", True, (28, 1536, 12, 2, 128, 8960, 151936, 32768)),
    "qwen2.5-3b": ("qwen2", True, (36, 2048, 16, 2, 128, 11008, 151936, 32768)),
    "qwen2.5-7b": ("qwen2", False, (28, 3584, 28, 4, 128, 18944, 152064, 32768)),
    "qwen2.5-14b": ("qwen2", False, (48, 5120, 40, 8, 128, 13824, 152064, 32768)),
    "qwen2.5-32b": ("qwen2", False, (64, 5120, 40, 8, 128, 27648, 152064, 32768)),
    "qwen3-8b": ("qwen3", False, (36, 4096, 32, 8, 128, 12288, 151936, 40960)),
}
"""Family, tied embeddings, then `KEYS`: from the models' config.json on the Hugging Face hub."""


KEYS = (
    *("num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads"),
    *("head_dim", "intermediate_size", "vocab_size", "max_position_embeddings"),
)


@cache
def profile_of(gpu: str, model: str, tp: int, tables: Path) -> Profile | None:
    """The profile of a pair; None where nothing is known of the GPU."""
    shipped = set(profile_ids())
    for name in (model, SAME_SHAPE.get(model, model)):
        if f"{gpu}/{name}-tp{tp}" in shipped:
            return load_profile(f"{gpu}/{name}-tp{tp}")
    if gpu not in KNOWN_GPUS:
        return None
    target = Target(KNOWN_GPUS[gpu], _config(model), tp)
    return derive(target, tables if gpu in MADE_WITH else None)


def _config(model: str) -> ModelConfig:
    if model not in CONFIGS:
        return find_model(SAME_SHAPE.get(model, model))
    family, tied, sizes = CONFIGS[model]
    stated = {"model_type": family, "tie_word_embeddings": tied, "torch_dtype": "bfloat16"}
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{model}.json"
        path.write_text(json.dumps(stated | dict(zip(KEYS, sizes, strict=True))))
        return read_model_config(path)
