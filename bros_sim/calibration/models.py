"""The model that a profile is for: from a Hugging Face ``config.json`` or a shipped profile."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from bros_sim.calibration.files import Count, Foreign, checked, read_json
from bros_sim.calibration.kernels_dense import is_tied
from bros_sim.config.messages import nearest
from bros_sim.core.errors import InputError
from bros_sim.profiles.profile import BYTES, ModelShape, load_profile, profile_ids

_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
NOT_COVERED = {
    "text_config": "a model in a model: save that part as a file of its own",
    "quantization_config": "quantized weights are not covered",
    **dict.fromkeys(_EXPERTS, "mixtures of experts are not covered"),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank"), "latent attention (MLA) is not covered"),
    **dict.fromkeys(("attention_bias", "mlp_bias"), "these biases are not covered"),
}
"""Keys that change what an iteration computes, where they are set -> what to say."""


@dataclass(frozen=True)
class Family:
    """What the architectures of one ``model_type`` have in common beyond their sizes."""

    gated: bool = True  # the feed-forward part has three matrices (gate, up, down), not two
    qkv_bias: bool = False  # biases on the query, key and value projections
    all_bias: bool = False  # biases on every projection and norm, and learned positions (OPT)
    qk_norm: bool = False  # a norm on each head's queries and keys
    tied: bool = False  # embedding and LM head are one matrix where the file does not say
    inner: str = "intermediate_size"  # the key of the feed-forward part's inner size
    stated: tuple[str, ...] = ()  # keys that must be there: defaults differ, or are no rule

    def parameters(self, shape: ModelShape, *, tied: bool) -> int:
        """All weights, counted from the sizes (those of ``shape.parameters`` left aside)."""
        hidden, inner = shape.hidden, shape.intermediate
        queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        norm = hidden * (2 if self.all_bias else 1)
        layer = 2 * hidden * (queries + keys) + (3 if self.gated else 2) * hidden * inner + 2 * norm
        if self.qk_norm:
            layer += 2 * shape.head_dim
        if self.qkv_bias or self.all_bias:
            layer += queries + 2 * keys
        if self.all_bias:
            layer += hidden + inner + hidden
        embeddings = shape.vocab * hidden * (1 if tied else 2)
        positions = (shape.max_model_len + 2) * hidden if self.all_bias else 0
        return embeddings + positions + shape.layers * layer + norm


_GROUPED = ("num_key_value_heads",)
FAMILIES = {
    "llama": Family(),
    "mistral": Family(stated=_GROUPED),
    "qwen2": Family(qkv_bias=True, stated=_GROUPED),
    "qwen3": Family(qk_norm=True, stated=(*_GROUPED, "head_dim")),
    "opt": Family(gated=False, all_bias=True, tied=True, inner="ffn_dim"),
}
"""``model_type`` -> architecture. The defaults are those of transformers' config classes."""


@dataclass(frozen=True)
class ModelConfig:
    """What a profile needs of a dense decoder; ``notes`` say what had to be assumed."""

    shape: ModelShape
    dtype: str  # of weights and KV
    tied: bool
    family: Family = FAMILIES["llama"]
    notes: tuple[str, ...] = ()

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights, over all GPUs."""
        return self.shape.parameters * BYTES[self.dtype]

    def kv_bytes_per_token(self, tp: int = 1) -> int:
        """Bytes of K and V of one token in all layers, over all ``tp`` GPUs."""
        return self.shape.kv_bytes_per_token(tp, self.dtype)

    def require_tp(self, tp: int) -> None:
        """Raise ``InputError`` if heads or inner size do not split over ``tp`` GPUs."""
        sizes = ((self.shape.heads, "heads"), (self.shape.intermediate, "inner size"))
        if odd := [f"{size} {what}" for size, what in sizes if size % tp]:
            raise InputError(f"--tp {tp}: {self.shape.name} cannot be split: {', '.join(odd)}")


Weights = Annotated[
    Literal["float16", "bfloat16", "float32"] | None,
    BeforeValidator(lambda name: name.removeprefix("torch.") if isinstance(name, str) else name),
]


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
    data = read_json(path)
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
    return _model(config, _name(path, config))


def _name(path: Path, config: _Config) -> str:
    if config.name_or_path.strip("./"):
        return config.name_or_path.rstrip("/").rpartition("/")[2]
    return path.absolute().parent.name if path.name == "config.json" else path.stem


def _contradictions(config: _Config) -> Iterator[str]:
    heads, family = config.num_attention_heads, FAMILIES[config.model_type]
    for key in family.stated:
        if getattr(config, key) is None:
            yield f"{key}: this key is missing; its default differs between releases, so state it"
    if getattr(config, family.inner) is None:
        other = "intermediate_size" if family.inner == "ffn_dim" else "ffn_dim"
        hint = f" (it has {other}, which this family does not use)"
        yield f"{family.inner}: this key is missing{hint if getattr(config, other) else ''}"
    if config.head_dim is None and config.hidden_size % heads:
        what = f"hidden_size {config.hidden_size} is not a multiple of {heads}"
        yield f"num_attention_heads: {what}, and head_dim is not stated"
    if heads % (kv_heads := config.num_key_value_heads or heads):
        yield f"num_key_value_heads: num_attention_heads {heads} is not a multiple of {kv_heads}"
    if (config.dtype or config.torch_dtype) is None:
        yield "torch_dtype: this key is missing (known: float16, bfloat16, float32)"
    if config.word_embed_proj_dim not in {None, config.hidden_size}:
        yield "word_embed_proj_dim: must equal hidden_size; projections are not covered"
    if family.all_bias and not (config.enable_bias and config.do_layer_norm_before):
        yield "enable_bias, do_layer_norm_before: must be true; others are not covered"


def _model(config: _Config, name: str) -> ModelConfig:
    family, heads = FAMILIES[config.model_type], config.num_attention_heads
    longest, window = config.max_position_embeddings, config.sliding_window
    notes: tuple[str, ...] = ()
    if window and config.use_sliding_window and window < longest:
        longest = window  # beyond it, attention costs something else
        notes = (f"Requests end at {window} tokens, the model's attention window.",)
    shape = ModelShape(
        name=name,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=heads,
        kv_heads=config.num_key_value_heads or heads,
        head_dim=config.head_dim or config.hidden_size // heads,
        intermediate=getattr(config, family.inner),
        vocab=config.vocab_size,
        max_model_len=longest,
        parameters=0,
    )
    tied = family.tied if config.tie_word_embeddings is None else config.tie_word_embeddings
    counted = replace(shape, parameters=family.parameters(shape, tied=tied))
    return ModelConfig(counted, str(config.dtype or config.torch_dtype), tied, family, notes)
