"""Dimensions of a language model, and the bytes that its weights and its KV take."""

from dataclasses import dataclass
from typing import Annotated

from annotated_doc import Doc
from annotated_types import Ge, MinLen

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "fp8": 1}
WINDOWED_REQUEST = 4096
"""Tokens of the requests for which the KV blocks of a model with windowed layers are counted: each
keeps its windows beside the blocks that grow (assumed)."""

Count = Annotated[int, Ge(1)]
Text = Annotated[str, MinLen(1)]


@dataclass(frozen=True)
class Experts:
    """The routed experts of a mixture; experts that every token passes are not among them."""

    number: Annotated[Count, Doc("of one layer")]
    per_token: Annotated[Count, Doc("of these, how many a token passes")]
    parameters: Annotated[Count, Doc("of all experts in all layers")]
    weight_bytes: Annotated[Count | None, Doc("of them; default: in the profile's dtype")] = None

    @property
    def share(self) -> float:
        """Share of a layer's experts that one token passes."""
        return self.per_token / self.number


@dataclass(frozen=True)
class Windows:
    """Layers that keep the KV of a request's last tokens only."""

    layers: Count
    tokens: Count


@dataclass(frozen=True)
class ModelShape:
    """Dimensions of the language model, over all GPUs."""

    name: Text
    layers: Count
    hidden: Count
    heads: Count
    kv_heads: Count
    head_dim: Annotated[Count, Doc("of MLA the mean of keys and values, as in prefill")]
    intermediate: Count
    vocab: Count
    max_model_len: Count
    parameters: Count
    weight_bytes: Annotated[
        Count | None, Doc("of all weights; default: parameters in the profile's dtype")
    ] = None
    experts: Annotated[Experts | None, Doc("of a mixture of experts")] = None
    latent_kv: Annotated[
        Count | None, Doc("MLA: values kept of a token and layer, whole on each GPU")
    ] = None
    windows: Annotated[
        Windows | None, Doc("layers whose KV stops growing; None: every layer keeps every token")
    ] = None

    @property
    def active_parameters(self) -> int:
        """Parameters that one token computes with."""
        if self.experts is None:
            return self.parameters
        passed = self.experts.parameters * self.experts.per_token // self.experts.number
        return self.parameters - self.experts.parameters + passed

    def bytes_of_weights(self, dtype: str) -> int:
        """Bytes of all weights."""
        return self.weight_bytes or self.parameters * BYTES[dtype]

    def bytes_of_experts(self, dtype: str) -> int:
        """Bytes of the routed experts among them."""
        experts = self.experts
        return (experts.weight_bytes or experts.parameters * BYTES[dtype]) if experts else 0

    def kv_bytes_per_token(self, tp: int, dtype: str) -> int:
        """Bytes of KV that a further token adds at any length, over all ``tp`` GPUs.

        Of windowed layers nothing. A rank keeps at least one KV head: beyond ``kv_heads`` ranks
        the heads are replicated, and so is a latent KV.
        """
        growing = self.layers - (self.windows.layers if self.windows else 0)
        return growing * self._layer_kv_bytes(tp, dtype)

    def window_bytes(self, tp: int, dtype: str) -> int:
        """Bytes of KV that a request keeps in windowed layers once it is longer than these."""
        windows = self.windows
        return windows.layers * windows.tokens * self._layer_kv_bytes(tp, dtype) if windows else 0

    def cache_bytes_per_token(self, tp: int, dtype: str) -> int:
        """KV bytes per token of a request of `WINDOWED_REQUEST` tokens, its windows included."""
        windows = -(-self.window_bytes(tp, dtype) // WINDOWED_REQUEST)
        return self.kv_bytes_per_token(tp, dtype) + windows

    def _layer_kv_bytes(self, tp: int, dtype: str) -> int:
        values = 2 * max(1, self.kv_heads // tp) * self.head_dim
        return (self.latent_kv or values) * tp * BYTES[dtype]
