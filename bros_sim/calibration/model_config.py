"""Dimensions of a language model, from the ``config.json`` of a Hugging Face folder."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from bros_sim.calibration.checked_json import Foreign, checked, parse_json, read_text
from bros_sim.calibration.model_dims import FAMILIES, Dtype, ModelDims
from bros_sim.config.messages import nearest
from bros_sim.core.errors import InputError

Count = Annotated[int, Field(ge=1)]
NOT_COVERED = {
    "text_config": "a model in a model: save that part as a file of its own",
    "quantization_config": "quantized weights are not covered",
    **dict.fromkeys(
        ("num_local_experts", "num_experts", "n_routed_experts"),
        "mixtures of experts are not covered",
    ),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank"), "latent attention (MLA) is not covered"),
    **dict.fromkeys(("attention_bias", "mlp_bias"), "these biases are not covered"),
}
"""Keys that change what an iteration computes, where they are set -> what to say."""


def _bare(dtype: object) -> object:
    return dtype.removeprefix("torch.") if isinstance(dtype, str) else dtype


Weights = Annotated[Dtype | None, BeforeValidator(_bare)]


class _Config(Foreign):
    """The keys of ``config.json`` that all families share; OPT names one of them differently."""

    model_type: str
    hidden_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    vocab_size: Count
    max_position_embeddings: Count
    intermediate_size: Count | None = None
    ffn_dim: Count | None = None
    num_key_value_heads: Count | None = None
    head_dim: Count | None = None
    tie_word_embeddings: bool | None = None
    enable_bias: bool = True
    do_layer_norm_before: bool = True
    torch_dtype: Weights = None
    dtype: Weights = None
    sliding_window: Count | None = None
    use_sliding_window: bool = True
    word_embed_proj_dim: Count | None = None
    name_or_path: str = Field("", alias="_name_or_path")


def read_model_config(path: Path, name: str | None = None) -> ModelDims:
    """The dimensions that a ``config.json`` states.

    Args:
        path: The file, or the folder that holds it.
        name: What to call the model; else what the file says, else its folder's name.

    Raises:
        InputError: The file is not there, not JSON, incomplete, of a family that is not known,
            or its numbers contradict each other. One line for each fault.
    """
    if path.is_dir():
        path = path / "config.json"
    data = parse_json(read_text(path), path)
    if not isinstance(data, dict):
        raise InputError(f"{path}: should be one JSON object, the config of a model")
    kind = data.get("model_type")
    if isinstance(kind, str) and kind not in FAMILIES:
        raise InputError(f"{path}: model_type: '{kind}' is not covered{nearest(kind, FAMILIES)}")
    faults = [f"{path}: {key}: {what}" for key, what in NOT_COVERED.items() if data.get(key)]
    if faults:
        raise InputError(*faults)
    config = checked(_Config, data, str(path))
    faults = [f"{path}: {what}" for what in _contradictions(config)]
    if faults:
        raise InputError(*faults)
    return _dims(config, name or _name(path, config))


def _name(path: Path, config: _Config) -> str:
    """What the file calls the model, else its folder, else the file."""
    if config.name_or_path.strip("./"):
        return config.name_or_path.rstrip("/").rpartition("/")[2]
    return path.absolute().parent.name if path.name == "config.json" else path.stem


def _contradictions(config: _Config) -> list[str]:
    heads, family = config.num_attention_heads, FAMILIES[config.model_type]
    faults = [
        f"{key}: this key is missing; its default differs between releases, so state it"
        for key in family.stated
        if getattr(config, key) is None
    ]
    inner, other = ("ffn_dim", "intermediate_size")[:: 1 if family.all_bias else -1]
    if getattr(config, inner) is None:
        hint = (
            f" (it has {other}, which this family does not use)" if getattr(config, other) else ""
        )
        faults.append(f"{inner}: this key is missing{hint}")
    if config.head_dim is None and config.hidden_size % heads:
        faults.append(
            f"num_attention_heads: hidden_size {config.hidden_size} is not a multiple of {heads},"
            " and head_dim is not stated"
        )
    if heads % (kv_heads := config.num_key_value_heads or heads):
        faults.append(
            f"num_key_value_heads: num_attention_heads {heads} is not a multiple of {kv_heads}"
        )
    if (config.dtype or config.torch_dtype) is None:
        faults.append("torch_dtype: this key is missing (known: float16, bfloat16, float32)")
    if config.word_embed_proj_dim not in {None, config.hidden_size}:
        faults.append("word_embed_proj_dim: must equal hidden_size; projections are not covered")
    if family.all_bias and not (config.enable_bias and config.do_layer_norm_before):
        faults.append("enable_bias, do_layer_norm_before: must be true; others are not covered")
    return faults


def _dims(config: _Config, name: str) -> ModelDims:
    family = FAMILIES[config.model_type]
    ffn = config.ffn_dim if family.all_bias else config.intermediate_size
    dtype = config.dtype or config.torch_dtype
    assert ffn is not None
    assert dtype is not None
    longest, window = config.max_position_embeddings, config.sliding_window
    notes: tuple[str, ...] = ()
    if window and config.use_sliding_window and window < longest:
        longest = window  # beyond it, attention costs something else
        notes = (f"Requests end at {window} tokens, the model's attention window.",)
    tied = config.tie_word_embeddings
    return ModelDims(
        name=name,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads or config.num_attention_heads,
        head_dim=config.head_dim or config.hidden_size // config.num_attention_heads,
        ffn=ffn,
        vocab=config.vocab_size,
        max_model_len=longest,
        tied_embeddings=family.tied if tied is None else tied,
        dtype=dtype,
        family=family,
        notes=notes,
    )
