"""The model that a profile is for: from a Hugging Face ``config.json`` or a shipped profile."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bros_sim.calibration.families import (
    ALIASES,
    FAMILIES,
    Counted,
    Family,
    expert_size,
    experts_of,
    head_size,
    shared_experts,
)
from bros_sim.calibration.files import checked, read_json
from bros_sim.calibration.kernels_dense import is_tied
from bros_sim.calibration.model_keys import FULL, WINDOWED, ModelKeys, text_keys
from bros_sim.calibration.model_notes import size_notes, time_notes
from bros_sim.calibration.quantization import METHODS, Storage
from bros_sim.config.messages import nearest
from bros_sim.core.errors import InputError
from bros_sim.profiles.model_shape import BYTES, WINDOWED_REQUEST, Experts, ModelShape, Windows
from bros_sim.profiles.profile import load_profile, profile_ids

_LINEAR = "linear attention keeps a state of fixed size in place of the KV of each token"
_STATE = "state space layers keep a state of fixed size in place of the KV of each token"
_MIXTURE = "a mixture of experts"
_LATENT = "latent attention (MLA)"
_BIASES = "biases on attention or the feed-forward part"
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
REASONS = {
    **dict.fromkeys(("qwen3_next", "kimi_linear", "minimax", "minimax_m1"), _LINEAR),
    **dict.fromkeys(("mamba", "mamba2", "falcon_mamba", "jamba", "bamba"), _STATE),
    **dict.fromkeys(("nemotron_h", "zamba2", "falcon_h1", "granitemoehybrid"), _STATE),
}
"""``model_type`` -> why it is not covered, where the type alone says so."""
PECULIAR = {
    "linear_num_key_heads": _LINEAR,
    "ssm_cfg": _STATE,
    **dict.fromkeys(_EXPERTS, _MIXTURE),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank"), _LATENT),
    **dict.fromkeys(("attention_bias", "mlp_bias"), _BIASES),
}
"""Keys that change what an iteration computes, where they are set -> what they stand for."""


@dataclass(frozen=True)
class ModelConfig:
    """What a profile needs of a decoder.

    ``notes`` say what of its memory and lengths is modelled and what is not, ``time_notes`` the
    same of iteration times from peak rates.
    """

    shape: ModelShape
    dtype: str  # of KV, and of weights that are not quantized
    tied: bool
    family: Family = FAMILIES["llama"]
    notes: tuple[str, ...] = ()
    time_notes: tuple[str, ...] = ()

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights, over all GPUs."""
        return self.shape.bytes_of_weights(self.dtype)

    def kv_bytes_per_token(self, tp: int = 1) -> int:
        """Bytes of KV that a further token adds, over all ``tp`` GPUs."""
        return self.shape.kv_bytes_per_token(tp, self.dtype)

    def cache_bytes_per_token(self, tp: int = 1) -> int:
        """The same with the share of windowed layers: what the KV cache is divided by."""
        return self.shape.cache_bytes_per_token(tp, self.dtype)

    def require_tp(self, tp: int) -> None:
        """Raise ``InputError`` if heads or inner size do not split over ``tp`` GPUs."""
        sizes = ((self.shape.heads, "heads"), (self.shape.intermediate, "inner size"))
        if odd := [f"{size} {what}" for size, what in sizes if size % tp]:
            raise InputError(f"--tp {tp}: {self.shape.name} cannot be split: {', '.join(odd)}")

    @property
    def peculiar(self) -> list[str]:
        """What makes it more than a dense decoder with weights of one type."""
        shape = self.shape
        parts = (
            (shape.experts, _MIXTURE),
            (shape.latent_kv, _LATENT),
            (shape.windows, "layers with windows"),
            (shape.weight_bytes, "quantized weights"),
        )
        return [name for value, name in parts if value is not None]

    def require_plain(self, what: str) -> None:
        """Raise ``InputError`` if it has such parts, which ``what`` does not cover."""
        if self.peculiar:
            raise InputError(f"{what} does not cover {', '.join(self.peculiar)}: {self.shape.name}")


def find_model(name_or_path: str) -> ModelConfig:
    """The model of a ``.json`` file, else that of a shipped profile, as ``llama-3-8b``."""
    if name_or_path.endswith(".json"):
        config = read_model_config(Path(name_or_path))
        if config.dtype == "float32":
            raise InputError(
                f"{name_or_path}: torch_dtype: engines run float32 weights as float16 or bfloat16:"
                " state which"
            )
        return config
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


def read_model_config(path: Path) -> ModelConfig:
    """The model of a ``config.json`` or its folder; `InputError` with a line for each fault."""
    if path.is_dir():
        path = path / "config.json"
    whole = read_json(path)
    if not isinstance(whole, dict):
        raise InputError(f"{path}: should be one JSON object, the config of a model")
    data = text_keys(whole)
    kind = data.get("model_type")
    family = FAMILIES.get(ALIASES.get(kind, kind)) if isinstance(kind, str) else FAMILIES["llama"]
    if family is None:
        known = nearest("", [*FAMILIES, *ALIASES])
        raise InputError(f"{path}: model_type: '{kind}' is not covered{_reason(data)}{known}")
    _refuse(path, _uncovered(family, data))
    stated = {key: value for key, value in data.items() if value not in (None, {})}
    keys = checked(ModelKeys, {**family.defaults, **stated}, str(path))
    _refuse(path, _contradictions(family, keys))
    return _model(family, keys, _name(path, keys), beside="text_config" in whole)


def _refuse(path: Path, faults: Iterator[str]) -> None:
    if found := [f"{path}: {what}" for what in faults]:
        raise InputError(*found)


def _reason(data: Mapping[str, Any]) -> str:
    """Why an unknown type is none of the known ones, as far as its keys tell."""
    found = REASONS.get(data["model_type"]) or next(
        (what for key, what in PECULIAR.items() if data.get(key)), None
    )
    return f": {found}" if found else ""


def _uncovered(family: Family, data: Mapping[str, Any]) -> Iterator[str]:
    """Keys that are set and stand for what models of this type do not have."""
    have = {
        _MIXTURE: family.mixture is not None,
        _LATENT: family.latent,
        _BIASES: family.attention_bias,
    }
    for key, what in PECULIAR.items():
        if data.get(key) and not have.get(what, False):
            yield f"{key}: {what}, which model_type '{data['model_type']}' does not have"
    kinds = data.get("layer_types")
    for kind in sorted(set(kinds) - {FULL, *WINDOWED}) if isinstance(kinds, list) else ():
        yield f"layer_types: '{kind}' is not covered (known: {', '.join((FULL, *WINDOWED))})"


def _name(path: Path, keys: ModelKeys) -> str:
    if keys.name_or_path.strip("./"):
        return keys.name_or_path.rstrip("/").rpartition("/")[2]
    return path.absolute().parent.name if path.name == "config.json" else path.stem


def _contradictions(family: Family, keys: ModelKeys) -> Iterator[str]:
    heads = keys.num_attention_heads
    for key in family.stated:
        if getattr(keys, key) is None:
            yield f"{key}: this key is missing; its default differs between releases, so state it"
    if getattr(keys, family.inner) is None:
        other = "intermediate_size" if family.inner == "ffn_dim" else "ffn_dim"
        hint = f" (it has {other}, which this family does not use)"
        yield f"{family.inner}: this key is missing{hint if getattr(keys, other) else ''}"
    if keys.head_dim is None and keys.hidden_size % heads and not family.latent:
        what = f"hidden_size {keys.hidden_size} is not a multiple of {heads}"
        yield f"num_attention_heads: {what}, and head_dim is not stated"
    if heads % (kv_heads := keys.num_key_value_heads or heads):
        yield f"num_key_value_heads: num_attention_heads {heads} is not a multiple of {kv_heads}"
    if keys.weights_type is None:
        yield "torch_dtype: this key is missing (known: float16, bfloat16, float32)"
    if keys.word_embed_proj_dim not in {None, keys.hidden_size}:
        yield "word_embed_proj_dim: must equal hidden_size; projections are not covered"
    if family.all_bias and not (keys.enable_bias and keys.do_layer_norm_before):
        yield "enable_bias, do_layer_norm_before: must be true; others are not covered"
    yield from _contradictions_in_parts(family, keys)


def _contradictions_in_parts(family: Family, keys: ModelKeys) -> Iterator[str]:
    if family.mixture and (number := experts_of(family, keys)) < (keys.num_experts_per_tok or 1):
        yield f"num_experts_per_tok: {keys.num_experts_per_tok} of {number} experts"
    if keys.rope.kind == "yarn" and keys.rope.original_max_position_embeddings is None:
        yield "rope_scaling: yarn needs original_max_position_embeddings"
    quantization = keys.quantization_config
    if quantization is not None and quantization.storage() is None:
        known = f"(known: {', '.join(METHODS)})"
        yield f"quantization_config: '{quantization.quant_method}' is not covered {known}"


def model_length(family: Family, keys: ModelKeys) -> int:
    """Tokens of a request at most, by vLLM's rule (``_get_and_verify_max_len``, vllm/config).

    YaRN multiplies the original length, other methods the stated one; ``llama3``, ``longrope`` and
    ``su`` change nothing, and Gemma-3's stated length is the scaled one. Windows do not cut it.
    """
    longest, rope = keys.max_position_embeddings, keys.rope
    if family.scaled_length or rope.kind in {"su", "longrope", "llama3"}:
        return longest
    if rope.kind == "yarn":
        longest = rope.original_max_position_embeddings or longest
    return int(longest * (rope.factor or 1.0))


def _model(family: Family, keys: ModelKeys, name: str, *, beside: bool) -> ModelConfig:
    tied = family.tied if keys.tie_word_embeddings is None else keys.tie_word_embeddings
    dtype = str(keys.weights_type)
    quantization = keys.quantization_config
    storage = quantization.storage() if quantization else None
    counted = family.count(keys, tied=tied)
    weight_bytes, expert_bytes = _stored(counted, storage, BYTES[dtype])
    shape = ModelShape(
        name=name,
        layers=keys.num_hidden_layers,
        hidden=keys.hidden_size,
        heads=keys.num_attention_heads,
        kv_heads=keys.num_key_value_heads or keys.num_attention_heads,
        head_dim=_attention_width(family, keys),
        intermediate=_inner(family, keys),
        vocab=keys.vocab_size,
        max_model_len=model_length(family, keys),
        parameters=counted.total,
        weight_bytes=weight_bytes,
        experts=_experts(family, keys, counted.experts, expert_bytes),
        latent_kv=(keys.kv_lora_rank or 0) + keys.qk_rope_head_dim if family.latent else None,
        windows=_windows(keys),
    )
    notes = tuple(size_notes(shape, dtype, keys, storage, beside=beside))
    of_times = tuple(time_notes(shape, keys, storage))
    return ModelConfig(shape, dtype, tied, family, notes, of_times)


def _stored(counted: Counted, storage: Storage | None, size: int) -> tuple[int | None, int | None]:
    """Bytes of all weights and of the experts among them; None: ``size`` bytes for each value."""
    if storage is None:
        return None, None
    experts = round(counted.experts * storage.bits / 8)
    matrix = size if storage.experts_only else storage.bits / 8
    plain = (counted.embeddings + counted.small) * size
    return plain + round(counted.matrices * matrix) + experts, experts


def _attention_width(family: Family, keys: ModelKeys) -> int:
    """Values of a head, the mean of keys and values: what attention's operations follow from."""
    if not family.latent:
        return head_size(keys)
    return (keys.qk_nope_head_dim + keys.qk_rope_head_dim + keys.v_head_dim) // 2


def _inner(family: Family, keys: ModelKeys) -> int:
    """Inner size of the feed-forward part that a token passes; of a mixture all its experts'."""
    if family.mixture is None:
        return int(getattr(keys, family.inner))
    passed = (keys.num_experts_per_tok or 1) + shared_experts(family, keys)
    return passed * expert_size(family, keys)


def _experts(
    family: Family, keys: ModelKeys, parameters: int, weight_bytes: int | None
) -> Experts | None:
    if not parameters:
        return None
    per_token = keys.num_experts_per_tok or 1
    return Experts(experts_of(family, keys), per_token, parameters, weight_bytes)


def _windows(keys: ModelKeys) -> Windows | None:
    """Layers whose KV is counted apart; long windows, and those of all layers, are not."""
    layers, tokens = keys.windowed_layers(), keys.window
    if tokens is None or tokens >= WINDOWED_REQUEST or not 0 < layers < keys.num_hidden_layers:
        return None
    return Windows(layers, tokens)
