"""The model that a profile is for: from a ``config.json`` or a shipped profile."""

from dataclasses import dataclass
from pathlib import Path

from bros_sim.calibration.kernels_dense import is_tied
from bros_sim.calibration.model_config import read_model_config
from bros_sim.config.messages import nearest
from bros_sim.core.errors import InputError
from bros_sim.profiles.profile import ModelShape, load_profile, profile_ids


@dataclass(frozen=True)
class ModelConfig:
    """What a profile needs of a model, and what had to be assumed."""

    shape: ModelShape
    dtype: str
    tied: bool
    notes: tuple[str, ...] = ()


def find_model(name_or_path: str) -> ModelConfig:
    """The dimensions of a model: of a ``.json`` file, else of a shipped profile, as ``llama-3-8b``.

    Raises:
        InputError: There is none, or the file is invalid, or engines do not run such weights.
    """
    if name_or_path.endswith(".json"):
        dims = read_model_config(Path(name_or_path))
        if dims.dtype == "float32":
            raise InputError(
                f"{name_or_path}: torch_dtype: engines run float32 weights as float16 or bfloat16:"
                " state which"
            )
        return ModelConfig(dims.shape(), dims.dtype, dims.tied_embeddings, dims.notes)
    known = {model_slug(profile_id): profile_id for profile_id in profile_ids()}
    if name_or_path not in known:
        raise InputError(
            f"--model {name_or_path}: no shipped profile has this model"
            f"{nearest(name_or_path, known)}; give the path of its config.json"
        )
    profile = load_profile(known[name_or_path])
    return ModelConfig(profile.model, profile.dtype, is_tied(profile.model))


def model_slug(profile_id: str) -> str:
    """``llama-3-8b`` of ``a100-80gb/llama-3-8b-tp1``."""
    return profile_id.partition("/")[2].rpartition("-tp")[0]
