"""Which model a profile is for: a ``config.json``, or one that a shipped profile knows."""

from pathlib import Path

from bros_sim.calibration.derive_config import ModelConfig, read_config
from bros_sim.calibration.kernels_dense import is_tied
from bros_sim.config.messages import nearest
from bros_sim.errors import InputError
from bros_sim.latency.profile import load_profile, profile_ids


def find_model(name_or_path: str) -> ModelConfig:
    """The dimensions of a model: of a ``.json`` file, else of a shipped profile, as ``llama-3-8b``.

    Raises:
        InputError: There is none, or the file is at fault.
    """
    if name_or_path.endswith(".json"):
        return read_config(Path(name_or_path))
    known = {model_slug(profile_id): profile_id for profile_id in profile_ids()}
    if name_or_path not in known:
        raise InputError(
            f"--model {name_or_path}: no shipped profile has this model"
            f"{nearest(name_or_path, known)}; give the path of its config.json"
        )
    profile = load_profile(known[name_or_path])
    return ModelConfig(profile.model, profile.dtype, is_tied(profile.model), ())


def model_slug(profile_id: str) -> str:
    """``llama-3-8b`` of ``a100-80gb/llama-3-8b-tp1``."""
    return profile_id.partition("/")[2].rpartition("-tp")[0]
