"""What the architectures of one ``model_type`` have in common, and how many weights they have."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bros_sim.calibration.model_keys import ModelKeys


@dataclass(frozen=True)
class Mixture:
    """Where a family states its experts."""

    number: str  # the key of how many routed experts a layer has
    inner: str  # the key of an expert's inner size
    dense: str  # the key of the inner size of layers without experts
    shared: int | None = 0  # experts that every token passes; None: as n_shared_experts says


@dataclass(frozen=True)
class Counted:
    """Values of the weights, by how they are stored and read."""

    embeddings: int  # input embedding and LM head, once if they are tied
    small: int  # norms, biases, routers, positions
    matrices: int  # of all layers, experts aside
    experts: int  # matrices of all routed experts

    @property
    def total(self) -> int:
        """All parameters."""
        return self.embeddings + self.small + self.matrices + self.experts


@dataclass(frozen=True)
class Family:
    """An architecture beyond its sizes."""

    gated: bool = True  # the feed-forward part has three matrices (gate, up, down), not two
    qkv_bias: bool = False  # biases on the query, key and value projections
    all_bias: bool = False  # biases on every projection and norm, and learned positions (OPT)
    attention_bias: bool = False  # biases on the projections of attention, experts and router
    sinks: bool = False  # a learned logit for each head
    qk_norm: bool = False  # a norm on each head's queries and keys
    norms: int = 2  # norms of a layer over the hidden size
    tied: bool = False  # embedding and LM head are one matrix where the file does not say
    scaled_length: bool = False  # max_position_embeddings is what rope scaling leads to
    inner: str = "intermediate_size"  # the key of the feed-forward part's inner size
    stated: tuple[str, ...] = ()  # keys that must be there: defaults differ, or are no rule
    mixture: Mixture | None = None
    latent: bool = False  # MLA
    defaults: Mapping[str, object] = field(default_factory=dict)  # of keys that a file leaves out

    def count(self, keys: ModelKeys, *, tied: bool) -> Counted:
        """All weights, counted from the sizes."""
        hidden, layers = keys.hidden_size, keys.num_hidden_layers
        norm = hidden * (2 if self.all_bias else 1)
        positions = (keys.max_position_embeddings + 2) * hidden if self.all_bias else 0
        matrices, small = self._attention(keys)
        dense, of_dense, experts, of_experts = self._feed_forward(keys)
        return Counted(
            embeddings=keys.vocab_size * hidden * (1 if tied else 2),
            small=positions + norm + layers * (small + self.norms * norm) + of_dense + of_experts,
            matrices=layers * matrices + dense,
            experts=experts,
        )

    def _attention(self, keys: ModelKeys) -> tuple[int, int]:
        """Values of a layer's projections, and of its norms and biases."""
        if self.latent:
            return _latent_attention(keys)
        hidden, queries, one = keys.hidden_size, queries_of(keys), keys_of(keys)
        small = 2 * head_size(keys) if self.qk_norm else 0
        if self.qkv_bias or self.all_bias or self.attention_bias:
            small += queries + 2 * one
        if self.all_bias or self.attention_bias:
            small += hidden
        return 2 * hidden * (queries + one), small + (keys.num_attention_heads * self.sinks)

    def _feed_forward(self, keys: ModelKeys) -> tuple[int, int, int, int]:
        """Values of all layers: dense matrices, their biases, experts, their biases and routers."""
        hidden, layers = keys.hidden_size, keys.num_hidden_layers
        parts, mixture = 3 if self.gated else 2, self.mixture
        if mixture is None:
            inner = getattr(keys, self.inner)
            biases = inner + hidden if self.all_bias else 0
            return layers * parts * hidden * inner, layers * biases, 0, 0
        sparse, number, inner = (
            keys.sparse_layers(),
            experts_of(self, keys),
            expert_size(self, keys),
        )
        dense = (layers - sparse) * getattr(keys, mixture.dense, 0)
        always = parts * hidden * (dense + sparse * shared_experts(self, keys) * inner)
        router = number * hidden + (number if self.attention_bias or self.latent else 0)
        biases = number * (2 * inner + hidden) if self.attention_bias else 0
        experts = sparse * number * parts * hidden * inner
        return always, 0, experts, sparse * (router + biases)


def head_size(keys: ModelKeys) -> int:
    """Values of a head of queries and keys."""
    return keys.head_dim or keys.hidden_size // keys.num_attention_heads


def queries_of(keys: ModelKeys) -> int:
    """Values of all heads of queries."""
    return keys.num_attention_heads * head_size(keys)


def keys_of(keys: ModelKeys) -> int:
    """Values of all heads of keys."""
    return (keys.num_key_value_heads or keys.num_attention_heads) * head_size(keys)


def experts_of(family: Family, keys: ModelKeys) -> int:
    """Routed experts of a layer."""
    return int(getattr(keys, family.mixture.number)) if family.mixture else 0


def expert_size(family: Family, keys: ModelKeys) -> int:
    """Inner size of an expert."""
    return int(getattr(keys, family.mixture.inner)) if family.mixture else 0


def shared_experts(family: Family, keys: ModelKeys) -> int:
    """Experts of a layer that every token passes."""
    stated = family.mixture.shared if family.mixture else 0
    return keys.n_shared_experts if stated is None else stated


def _latent_attention(keys: ModelKeys) -> tuple[int, int]:
    """MLA: queries and KV go through a low rank, each with a norm; rotary keys beside them."""
    hidden, heads, rank = keys.hidden_size, keys.num_attention_heads, keys.kv_lora_rank or 0
    queries = heads * (keys.qk_nope_head_dim + keys.qk_rope_head_dim)
    low = keys.q_lora_rank
    matrices = low * (hidden + queries) if low else hidden * queries
    matrices += hidden * (rank + keys.qk_rope_head_dim)
    matrices += rank * heads * (keys.qk_nope_head_dim + keys.v_head_dim)
    return matrices + heads * keys.v_head_dim * hidden, rank + (low or 0)


_GROUPED = ("num_key_value_heads",)
_ROUTED = (*_GROUPED, "num_experts_per_tok")
_NO_WINDOW = {"use_sliding_window": False}
_GEMMA = {
    "vocab_size": 262208, "max_position_embeddings": 131072, "num_attention_heads": 8,
    "num_key_value_heads": 4, "head_dim": 256, "sliding_window": 4096, "sliding_window_pattern": 6,
}  # fmt: skip
_LLAMA_4 = {
    "intermediate_size_mlp": 16384, "num_experts_per_tok": 1, "attention_chunk_size": 8192,
    "sliding_window_pattern": 4,
}  # fmt: skip
_GPT_OSS = {"sliding_window_pattern": 2, "torch_dtype": "bfloat16", "num_experts_per_tok": 4}
_DEEPSEEK_V3 = {
    "moe_intermediate_size": 2048, "num_experts_per_tok": 8, "first_k_dense_replace": 3,
    "n_shared_experts": 1, "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128, "v_head_dim": 128,
}  # fmt: skip
FAMILIES = {
    "llama": Family(),
    "mistral": Family(stated=_GROUPED),
    "qwen2": Family(qkv_bias=True, stated=_GROUPED, defaults=_NO_WINDOW),
    "qwen3": Family(qk_norm=True, stated=(*_GROUPED, "head_dim"), defaults=_NO_WINDOW),
    "opt": Family(gated=False, all_bias=True, tied=True, inner="ffn_dim"),
    "gemma3_text": Family(
        qk_norm=True, norms=4, tied=True, scaled_length=True, defaults=_GEMMA
    ),
    "qwen3_moe": Family(
        qk_norm=True,
        stated=(*_ROUTED, "head_dim", "num_experts", "moe_intermediate_size"),
        mixture=Mixture("num_experts", "moe_intermediate_size", "intermediate_size"),
        defaults=_NO_WINDOW,
    ),
    "llama4_text": Family(
        stated=(*_GROUPED, "head_dim", "num_local_experts"),
        mixture=Mixture(
            "num_local_experts", "intermediate_size", "intermediate_size_mlp", shared=1
        ),
        defaults=_LLAMA_4,
    ),
    "gpt_oss": Family(
        attention_bias=True,
        sinks=True,
        stated=(*_GROUPED, "head_dim", "num_local_experts"),
        mixture=Mixture("num_local_experts", "intermediate_size", "intermediate_size"),
        defaults=_GPT_OSS,
    ),
    "deepseek_v3": Family(
        latent=True,
        stated=("n_routed_experts",),
        mixture=Mixture(
            "n_routed_experts", "moe_intermediate_size", "intermediate_size", shared=None
        ),
        defaults=_DEEPSEEK_V3,
    ),
}  # fmt: skip
"""``model_type`` -> architecture. The defaults are those of transformers' config classes."""
ALIASES = {"gemma3": "gemma3_text", "llama4": "llama4_text"}
"""``model_type`` of a model with pictures -> that of its language model."""
