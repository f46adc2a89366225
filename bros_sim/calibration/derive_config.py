"""A model's dimensions from its Hugging Face ``config.json``, read from a file.

Defaults are those of transformers' configuration classes where these are plain, and a fault where
they depend on the release: the number of KV heads decides the size of the cache.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bros_sim.config import Document, parse
from bros_sim.config.messages import nearest
from bros_sim.errors import InputError
from bros_sim.latency.profile import ModelShape

DTYPES = ("bfloat16", "float16")
MIXTURES = ("num_local_experts", "num_experts", "n_routed_experts")
LATENT = ("kv_lora_rank", "q_lora_rank")


@dataclass(frozen=True)
class ModelConfig:
    """What a profile needs of a model, and what had to be assumed."""

    shape: ModelShape
    dtype: str
    tied: bool
    notes: tuple[str, ...]


def read_config(path: Path) -> ModelConfig:
    """Dimensions, number of parameters and type of weights of a model.

    Raises:
        InputError: It is no JSON, or no model whose iterations can be priced: every fault.
    """
    config = _Config(_document(path))
    config.refuse_what_is_not_modelled()
    kind = config.text("model_type")
    if kind is not None and kind not in MODEL_TYPES:
        config.fault(
            "model_type", f"models of type '{kind}' are not known{nearest(kind, MODEL_TYPES)}"
        )
    if config.faults or kind is None:
        raise InputError(*config.faults)
    shape = MODEL_TYPES[kind](config, _name(path, config))
    dtype = config.dtype()
    if config.faults or shape is None:
        raise InputError(*config.faults)
    return ModelConfig(shape, dtype, config.tied, tuple(config.notes))


def _document(path: Path) -> Document:
    try:
        text = path.read_text(encoding="utf-8")
        json.loads(text)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}:1:1: is not UTF-8 text") from None
    except (json.JSONDecodeError, RecursionError) as error:
        line, column = getattr(error, "lineno", 1), getattr(error, "colno", 1)
        what = getattr(error, "msg", "nested too deeply")
        raise InputError(f"{path}:{line}:{column}: not JSON: {what}") from None
    return parse(text.replace("\t", " "), str(path))


@dataclass
class _Config:
    """Reads keys and collects what is wrong with them."""

    document: Document
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tied: bool = False

    def fault(self, key: str, what: str) -> None:
        self.faults.append(self.document.fault((key,), what))

    def get(self, key: str) -> object:
        return self.document.data.get(key)

    def text(self, key: str) -> str | None:
        value = self.get(key)
        if not isinstance(value, str):
            self.fault(key, "this key is missing" if value is None else "should be text")
            return None
        return value

    def count(
        self, key: str, default: int | None = None, missing: str = "this key is missing"
    ) -> int:
        """A whole number above 0; 1 stands in for what is at fault."""
        value = self.get(key)
        if value is None and default is not None:
            return default
        if value is None:
            self.fault(key, missing)
        elif isinstance(value, bool) or not isinstance(value, int) or value < 1:
            self.fault(key, f"should be a whole number above 0 (got {value!r})")
        else:
            return value
        return 1

    def flag(self, key: str, *, default: bool) -> bool:
        value = self.get(key)
        if value is not None and not isinstance(value, bool):
            self.fault(key, f"should be true or false (got {value!r})")
        return value if isinstance(value, bool) else default

    def dtype(self) -> str:
        """Type of the weights as vLLM's ``--dtype auto`` takes it: float32 is run as float16."""
        key = "dtype" if self.get("dtype") is not None else "torch_dtype"
        value = str(self.get(key) or "float32").removeprefix("torch.")
        if value in DTYPES:
            return value
        if value in {"float32", "auto"}:
            self.notes.append(f"{key} is {self.get(key) or 'not stated'}: taken as float16")
            return "float16"
        self.fault(key, f"weights of type '{value}' are not known{nearest(value, DTYPES)}")
        return "float16"

    def refuse_what_is_not_modelled(self) -> None:
        if isinstance(self.get("text_config"), dict):
            self.fault("text_config", "is a model in a model: save that part as a file of its own")
        if self.get("quantization_config") is not None:
            self.fault("quantization_config", "quantised weights are not modelled")
        for key in MIXTURES:
            value = self.get(key)
            if isinstance(value, int) and value > 1:
                self.fault(key, "mixtures of experts are not modelled")
        for key in LATENT:
            if self.get(key) is not None:
                self.fault(key, "latent attention (MLA) is not modelled")


def _name(path: Path, config: _Config) -> str:
    """What the file calls the model, else its folder, else the file."""
    stated = config.get("_name_or_path")
    if isinstance(stated, str) and stated.strip("./"):
        return stated.rstrip("/").rpartition("/")[2]
    parent = path.resolve().parent.name
    return parent if path.name == "config.json" and parent else path.stem


def _gated(
    config: _Config, name: str, *, qkv_bias: bool, qk_norm: bool, kv_default: bool
) -> ModelShape:
    """Llama and its kin: gated MLP, RMS norms, rotary positions."""
    hidden, heads = config.count("hidden_size"), config.count("num_attention_heads")
    unknown = "this key is missing; its default differs between releases, so state it"
    kv_heads = config.count("num_key_value_heads", heads if kv_default else None, unknown)
    stated = config.get("head_dim")
    head_dim = config.count("head_dim") if stated is not None else _head_dim(config, hidden, heads)
    layers, inner = config.count("num_hidden_layers"), config.count("intermediate_size")
    vocab, positions = config.count("vocab_size"), config.count("max_position_embeddings")
    config.tied = config.flag("tie_word_embeddings", default=False)
    if heads % kv_heads:
        config.fault("num_key_value_heads", f"{kv_heads} does not divide the {heads} heads")
    _note_window(config)
    query, both = heads * head_dim, 2 * kv_heads * head_dim
    biased = qkv_bias or config.flag("attention_bias", default=False)
    layer = hidden * (2 * query + both) + 3 * hidden * inner + 2 * hidden
    layer += (query + both) * biased + hidden * (biased and not qkv_bias) + 2 * head_dim * qk_norm
    layer += (2 * inner + hidden) * config.flag("mlp_bias", default=False)
    parameters = layers * layer + vocab * hidden * (1 if config.tied else 2) + hidden
    return ModelShape(
        name, layers, hidden, heads, kv_heads, head_dim, inner, vocab, positions, parameters
    )


def _note_window(config: _Config) -> None:
    window = config.get("sliding_window")
    if isinstance(window, int) and config.get("use_sliding_window") is not False:
        config.notes.append(
            f"The model attends to the last {window} tokens only; here it attends to all, and "
            "longer requests keep all of their KV."
        )


def _head_dim(config: _Config, hidden: int, heads: int) -> int:
    if hidden % heads and not config.faults:
        config.fault("hidden_size", f"{hidden} is no multiple of the {heads} heads: state head_dim")
    return max(1, hidden // heads)


def _opt(config: _Config, name: str) -> ModelShape:
    """OPT: plain MLP, biases, learned positions (two more than stated), tied embeddings."""
    hidden, heads = config.count("hidden_size"), config.count("num_attention_heads")
    layers, inner = config.count("num_hidden_layers"), config.count("ffn_dim")
    vocab, positions = config.count("vocab_size"), config.count("max_position_embeddings")
    projected = config.count("word_embed_proj_dim", hidden)
    config.tied = config.flag("tie_word_embeddings", default=True)
    biases = 5 * hidden + inner if config.flag("enable_bias", default=True) else 0
    layer = 4 * hidden**2 + 2 * hidden * inner + biases + 4 * hidden
    parameters = layers * layer + vocab * projected * (1 if config.tied else 2)
    parameters += (positions + 2) * hidden
    if projected != hidden:
        parameters += 2 * hidden * projected
    elif config.flag("do_layer_norm_before", default=True):
        parameters += 2 * hidden
    head_dim = _head_dim(config, hidden, heads)
    return ModelShape(
        name, layers, hidden, heads, heads, head_dim, inner, vocab, positions, parameters
    )


def _llama(config: _Config, name: str) -> ModelShape:
    """Without ``num_key_value_heads`` every head has its own keys, as in Llama-2-7B."""
    return _gated(config, name, qkv_bias=False, qk_norm=False, kv_default=True)


def _mistral(config: _Config, name: str) -> ModelShape:
    return _gated(config, name, qkv_bias=False, qk_norm=False, kv_default=False)


def _qwen2(config: _Config, name: str) -> ModelShape:
    return _gated(config, name, qkv_bias=True, qk_norm=False, kv_default=False)


def _qwen3(config: _Config, name: str) -> ModelShape:
    if config.get("head_dim") is None:
        config.fault("head_dim", "this key is missing; it is not hidden_size / heads here")
    return _gated(config, name, qkv_bias=False, qk_norm=True, kv_default=False)


MODEL_TYPES: dict[str, Callable[[_Config, str], ModelShape]] = {
    "llama": _llama,
    "mistral": _mistral,
    "opt": _opt,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
}
"""``model_type`` -> reader."""
