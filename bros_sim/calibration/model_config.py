"""Dimensions of a language model, from the ``config.json`` of a Hugging Face folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from bros_sim.calibration.checked_json import Foreign, checked, parse_json, read_text
from bros_sim.config.messages import nearest
from bros_sim.errors import InputError
from bros_sim.latency.profile import BYTES, ModelShape

Count = Annotated[int, Field(ge=1)]
Dtype = Literal["float16", "bfloat16", "float32"]


@dataclass(frozen=True)
class Family:
    """What the architectures of one ``model_type`` have in common beyond their sizes."""

    gated: bool = True
    """The feed-forward part has three matrices (gate, up, down) instead of two."""
    qkv_bias: bool = False
    """Biases on the query, key and value projections."""
    all_bias: bool = False
    """Biases on every projection and norm, and learned positions (OPT)."""
    qk_norm: bool = False
    """A norm on each head's queries and keys."""
    tied: bool = False
    """Embedding and LM head are one matrix where the file does not say."""
    kv_heads: int | None = None
    """KV heads where the file does not say; ``None`` stands for as many as heads."""


FAMILIES = {
    "llama": Family(),
    "mistral": Family(kv_heads=8),
    "qwen2": Family(qkv_bias=True, kv_heads=32),
    "qwen3": Family(qk_norm=True, kv_heads=32),
    "opt": Family(gated=False, all_bias=True, tied=True),
}
"""``model_type`` -> architecture. The defaults are those of transformers' config classes."""


@dataclass(frozen=True)
class ModelDims:
    """Sizes of a dense decoder over all GPUs; ``ffn`` is the inner size of one of its matrices."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    max_model_len: int
    tied_embeddings: bool
    dtype: Dtype
    family: Family

    @property
    def dtype_bytes(self) -> int:
        """Bytes of one weight, and of one number in the KV cache."""
        return BYTES[self.dtype]

    @property
    def parameters(self) -> int:
        """All weights, counted from the dimensions."""
        embeddings = self.vocab * self.hidden * (1 if self.tied_embeddings else 2)
        positions = (self.max_model_len + 2) * self.hidden if self.family.all_bias else 0
        return embeddings + positions + self.layers * self._layer() + self._norm()

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights, over all GPUs."""
        return self.parameters * self.dtype_bytes

    def kv_bytes_per_token(self, tp: int = 1) -> int:
        """Bytes of K and V of one token in all layers, over all ``tp`` GPUs.

        A rank keeps at least one KV head: beyond ``kv_heads`` ranks the heads are replicated.
        """
        heads = max(1, self.kv_heads // tp) * tp
        return 2 * self.layers * heads * self.head_dim * self.dtype_bytes

    def require_tp(self, tp: int) -> None:
        """Refuse a number of GPUs that the model cannot be split over.

        Raises:
            InputError: Heads or inner size are not a multiple of ``tp``.
        """
        odd = [
            f"{n} {what}" for n, what in ((self.heads, "heads"), (self.ffn, "inner size")) if n % tp
        ]
        if odd:
            raise InputError(f"--tp {tp}: {self.name} cannot be split: {', '.join(odd)}")

    def shape(self) -> ModelShape:
        """What the section ``model`` of a profile holds."""
        return ModelShape(
            name=self.name,
            layers=self.layers,
            hidden=self.hidden,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            intermediate=self.ffn,
            vocab=self.vocab,
            max_model_len=self.max_model_len,
            parameters=self.parameters,
        )

    def _norm(self) -> int:
        return self.hidden * (2 if self.family.all_bias else 1)

    def _layer(self) -> int:
        family, queries, keys = (
            self.family,
            self.heads * self.head_dim,
            self.kv_heads * self.head_dim,
        )
        attention = 2 * self.hidden * queries + 2 * self.hidden * keys
        matrices = (3 if family.gated else 2) * self.hidden * self.ffn
        extra = 2 * self.head_dim if family.qk_norm else 0
        if family.qkv_bias or family.all_bias:
            extra += queries + 2 * keys
        if family.all_bias:
            extra += self.hidden + self.ffn + self.hidden
        return attention + matrices + extra + 2 * self._norm()


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
    torch_dtype: Dtype | None = None
    dtype: Dtype | None = None
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
    if data.get("quantization_config") is not None:
        raise InputError(f"{path}: quantization_config: quantized weights are not covered")
    config = checked(_Config, data, str(path))
    faults = [f"{path}: {what}" for what in _contradictions(config)]
    if faults:
        raise InputError(*faults)
    return _dims(
        config, name or config.name_or_path.rsplit("/", 1)[-1] or path.absolute().parent.name
    )


def _contradictions(config: _Config) -> list[str]:
    heads, family = config.num_attention_heads, FAMILIES[config.model_type]
    faults = []
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
    if heads % (kv_heads := _kv_heads(config)):
        faults.append(
            f"num_key_value_heads: num_attention_heads {heads} is not a multiple of {kv_heads}"
        )
    if (config.dtype or config.torch_dtype) is None:
        faults.append("torch_dtype: this key is missing (known: float16, bfloat16, float32)")
    if config.word_embed_proj_dim not in {None, config.hidden_size}:
        faults.append("word_embed_proj_dim: must equal hidden_size; projections are not covered")
    return faults


def _kv_heads(config: _Config) -> int:
    default = FAMILIES[config.model_type].kv_heads or config.num_attention_heads
    return config.num_key_value_heads or default


def _dims(config: _Config, name: str) -> ModelDims:
    family = FAMILIES[config.model_type]
    ffn = config.ffn_dim if family.all_bias else config.intermediate_size
    dtype = config.dtype or config.torch_dtype
    assert ffn is not None
    assert dtype is not None
    longest = config.max_position_embeddings
    if config.sliding_window and config.use_sliding_window:
        longest = min(longest, config.sliding_window)  # beyond it, attention costs something else
    tied = config.tie_word_embeddings
    return ModelDims(
        name=name,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=_kv_heads(config),
        head_dim=config.head_dim or config.hidden_size // config.num_attention_heads,
        ffn=ffn,
        vocab=config.vocab_size,
        max_model_len=longest,
        tied_embeddings=family.tied if tied is None else tied,
        dtype=dtype,
        family=family,
    )
