"""Dimensions of a dense language model, and what follows from them: weights, KV bytes."""

from dataclasses import dataclass
from typing import Literal

from bros_sim.core.errors import InputError
from bros_sim.profiles.profile import BYTES, ModelShape

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
    stated: tuple[str, ...] = ()
    """Keys that must be there: their defaults differ between releases, or are no rule."""


FAMILIES = {
    "llama": Family(),
    "mistral": Family(stated=("num_key_value_heads",)),
    "qwen2": Family(qkv_bias=True, stated=("num_key_value_heads",)),
    "qwen3": Family(qk_norm=True, stated=("num_key_value_heads", "head_dim")),
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
    notes: tuple[str, ...] = ()
    """What had to be assumed."""

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
        """Bytes of K and V of one token in all layers, over all ``tp`` GPUs."""
        return self.shape().kv_bytes_per_token(tp, self.dtype)

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
        family = self.family
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = 2 * self.hidden * queries + 2 * self.hidden * keys
        matrices = (3 if family.gated else 2) * self.hidden * self.ffn
        extra = 2 * self.head_dim if family.qk_norm else 0
        if family.qkv_bias or family.all_bias:
            extra += queries + 2 * keys
        if family.all_bias:
            extra += self.hidden + self.ffn + self.hidden
        return attention + matrices + extra + 2 * self._norm()
