"""The keys of ``config.json``, and what follows from several of them: lengths, windows, experts."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from bros_sim.calibration.files import Count, Foreign
from bros_sim.calibration.quantization import Quantization

Weights = Annotated[
    Literal["float16", "bfloat16", "float32"] | None,
    BeforeValidator(lambda name: name.removeprefix("torch.") if isinstance(name, str) else name),
]
FULL, WINDOWED = "full_attention", ("sliding_attention", "chunked_attention")


class Rope(Foreign):
    """``rope_scaling``, or ``rope_parameters`` of one kind of layer."""

    rope_type: str | None = None
    type: str | None = None
    factor: float | None = None
    original_max_position_embeddings: Count | None = None

    @property
    def kind(self) -> str:
        """The method, by its new key or the old one."""
        return self.rope_type or self.type or "default"


def _one_rope(value: object) -> object:
    """Of parameters by kind of layer those of full attention: vLLM takes one factor for all."""
    if isinstance(value, Mapping) and FULL in value:
        return value[FULL]
    return value


class ModelKeys(Foreign):
    """The keys of ``config.json`` that are read; families name some of them differently."""

    model_type: str
    hidden_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    vocab_size: Count
    max_position_embeddings: Count
    intermediate_size: Count | None = None
    intermediate_size_mlp: Count | None = None
    ffn_dim: Count | None = None
    num_key_value_heads: Count | None = None
    head_dim: Count | None = None
    tie_word_embeddings: bool | None = None
    enable_bias: bool = True
    do_layer_norm_before: bool = True
    torch_dtype: Weights = None
    dtype: Weights = None
    word_embed_proj_dim: Count | None = None
    name_or_path: str = Field("", alias="_name_or_path")
    quantization_config: Quantization | None = None

    rope_scaling: Annotated[Rope | None, BeforeValidator(_one_rope)] = None
    rope_parameters: Annotated[Rope | None, BeforeValidator(_one_rope)] = None
    sliding_window: Count | None = None
    attention_chunk_size: Count | None = None
    use_sliding_window: bool = True
    max_window_layers: int | None = None
    sliding_window_pattern: Count | None = None
    layer_types: list[str] | None = None

    num_experts: int | None = None
    num_local_experts: int | None = None
    n_routed_experts: int | None = None
    num_experts_per_tok: Count | None = None
    moe_intermediate_size: Count | None = None
    n_shared_experts: int = 0
    first_k_dense_replace: int = 0
    mlp_only_layers: list[int] | None = None
    moe_layers: list[int] | None = None
    decoder_sparse_step: Count = 1
    interleave_moe_layer_step: Count = 1

    kv_lora_rank: Count | None = None
    q_lora_rank: Count | None = None
    qk_rope_head_dim: int = 0
    qk_nope_head_dim: int = 0
    v_head_dim: int = 0

    @property
    def weights_type(self) -> str | None:
        """Type of weights, by the new key or the old one."""
        return self.dtype or self.torch_dtype

    @property
    def rope(self) -> Rope:
        """How positions are scaled; the kind is ``default`` where they are not."""
        return self.rope_scaling or self.rope_parameters or Rope()

    @property
    def window(self) -> int | None:
        """Tokens that a windowed layer attends to."""
        return (self.sliding_window if self.use_sliding_window else None) or (
            self.attention_chunk_size
        )

    def windowed_layers(self) -> int:
        """How many layers have the window: as listed, by the pattern, from one on, or all."""
        if self.window is None:
            return 0
        if self.layer_types is not None:
            return sum(kind in WINDOWED for kind in self.layer_types)
        if self.sliding_window_pattern is not None:
            return self.num_hidden_layers - self.num_hidden_layers // self.sliding_window_pattern
        return max(0, self.num_hidden_layers - (self.max_window_layers or 0))

    def sparse_layers(self) -> int:
        """Layers with routed experts."""
        if self.moe_layers is not None:
            return len(self.moe_layers)
        step = self.decoder_sparse_step * self.interleave_moe_layer_step
        layers = range(self.first_k_dense_replace, self.num_hidden_layers)
        return sum((i + 1) % step == 0 and i not in (self.mlp_only_layers or ()) for i in layers)


def text_keys(data: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of the language model, of a file that has them in ``text_config`` or on top."""
    inner = data.get("text_config")
    if not isinstance(inner, Mapping):
        return dict(data)
    shared = {key: data[key] for key in _SHARED if data.get(key) is not None}
    return {**shared, **inner}


_SHARED = (
    "model_type", "torch_dtype", "dtype", "quantization_config", "tie_word_embeddings",
    "_name_or_path",
)  # fmt: skip
