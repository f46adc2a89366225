"""A decoder with random weights and a paged KV cache, run by PyTorch's own kernels.

Times depend on sizes and not on values. The blocks of a request are gathered before
``scaled_dot_product_attention``, a copy that a paged attention kernel does not make: attention over
long contexts is slower here than in vLLM. Of several GPUs it is one rank, without all-reduce.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right

from bros_sim.calibration.models import ModelConfig
from bros_sim.calibration.plan import Case, Group
from bros_sim.calibration.profiles import BLOCK_SIZE

SCALE = 0.02  # standard deviation of the weights: keeps activations finite


@dataclass(frozen=True)
class Part:
    """Equal requests of a batch, and the blocks that they attend to."""

    group: Group
    tables: Tensor  # (count, blocks of a request)


@dataclass(frozen=True)
class Batch:
    """One iteration as static tensors, so that it can be replayed. Tokens of all parts in a row."""

    tokens: Tensor
    positions: Tensor
    slots: Tensor  # where the new key and value of each token go: block * BLOCK_SIZE + offset
    last: Tensor  # the last token of each request, whose logits are sampled
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Layer:
    """The weights of one block of the model; biases are ``None`` where the family has none."""

    norms: tuple[Tensor, Tensor]
    qkv: Tensor
    qkv_bias: Tensor | None
    out: Tensor
    up: Tensor
    down: Tensor


class RandomModel:
    """The model: ``step`` is an iteration from token ids to sampled ids."""

    def __init__(self, config: ModelConfig, tp: int, num_blocks: int, device: str) -> None:
        dims = self.dims = config.shape
        self.family = config.family
        self.heads = dims.heads // tp
        self.kv_heads = max(1, dims.kv_heads // tp)
        self.ffn = dims.intermediate // tp
        self.num_blocks = num_blocks
        self.device = torch.device(device)
        self.dtype = getattr(torch, config.dtype)
        self._random = torch.Generator(device).manual_seed(0)
        vocab = -(-dims.vocab // tp)
        self.embedding = self._weights(vocab, dims.hidden)
        self.head = self.embedding if config.tied else self._weights(vocab, dims.hidden)
        self.norm = self._ones(dims.hidden)
        self.layers = [self._layer() for _ in range(dims.layers)]
        self.rotary = self._rotary()
        shape = (dims.layers, 2, num_blocks, BLOCK_SIZE, self.kv_heads, dims.head_dim)
        self.cache = torch.zeros(shape, dtype=self.dtype, device=self.device)

    def prepare(self, case: Case) -> Batch:
        """A batch of that shape: random tokens, and blocks in random order for each request."""
        order = torch.randperm(self.num_blocks, generator=self._random, device=self.device)
        tables, at = [], 0
        for group in case.groups:
            blocks = -(-group.length // BLOCK_SIZE)
            tables.append(order[at : at + group.count * blocks].view(group.count, blocks))
            at += group.count * blocks
        return self.batch(case.groups, tables)

    def batch(self, groups: Sequence[Group], tables: Sequence[Tensor]) -> Batch:
        """A batch whose requests hold the given blocks, with random tokens."""
        positions, slots, ends = [], [], []
        for group, table in zip(groups, tables, strict=True):
            place = torch.arange(group.context, group.context + group.tokens, device=self.device)
            positions.append(place.repeat(group.count))
            slot = table[:, place // BLOCK_SIZE] * BLOCK_SIZE + place % BLOCK_SIZE
            slots.append(slot.flatten())
            ends += [group.tokens] * group.count
        size, vocab = (sum(ends),), len(self.embedding)
        ids = torch.randint(vocab, size, generator=self._random, device=self.device)
        last = torch.tensor(ends, device=self.device).cumsum(0) - 1
        parts = tuple(Part(g, table) for g, table in zip(groups, tables, strict=True))
        return Batch(ids, torch.cat(positions), torch.cat(slots), last, parts)

    def step(self, batch: Batch) -> Tensor:
        """The most likely next token of each request."""
        return self.logits(batch).argmax(-1)

    def logits(self, batch: Batch) -> Tensor:
        """(requests, vocabulary) scores after the last token of each request."""
        x = F.embedding(batch.tokens, self.embedding)
        for number, layer in enumerate(self.layers):
            x = x + self._attention(number, layer, self._normed(x, layer.norms[0]), batch)
            x = x + self._feed_forward(layer, self._normed(x, layer.norms[1]))
        return F.linear(self._normed(x[batch.last], self.norm), self.head)

    def _attention(self, number: int, layer: Layer, x: Tensor, batch: Batch) -> Tensor:
        dims = self.dims
        sizes = [self.heads * dims.head_dim, *[self.kv_heads * dims.head_dim] * 2]
        q, k, v = F.linear(x, layer.qkv, layer.qkv_bias).split(sizes, -1)
        q, k = q.unflatten(-1, (self.heads, -1)), k.unflatten(-1, (self.kv_heads, -1))
        if self.family.qk_norm:
            q, k = F.rms_norm(q, q.shape[-1:]), F.rms_norm(k, k.shape[-1:])
        if not self.family.all_bias:  # learned positions instead of turned ones
            q, k = self._turned(q, batch.positions), self._turned(k, batch.positions)
        keys, values = self.cache[number]
        keys.flatten(0, 1).index_copy_(0, batch.slots, k)
        values.flatten(0, 1).index_copy_(0, batch.slots, v.unflatten(-1, (self.kv_heads, -1)))
        outputs, at = [], 0
        for part in batch.parts:
            rows = part.group.count * part.group.tokens
            outputs.append(_attend(q[at : at + rows], keys, values, part))
            at += rows
        return F.linear(torch.cat(outputs), layer.out)

    def _feed_forward(self, layer: Layer, x: Tensor) -> Tensor:
        up = F.linear(x, layer.up)
        if self.family.gated:
            gate, up = up.chunk(2, -1)
            return F.linear(F.silu(gate) * up, layer.down)
        return F.linear(F.relu(up), layer.down)

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        if self.family.all_bias:
            return F.layer_norm(x, x.shape[-1:], weight)
        return F.rms_norm(x, x.shape[-1:], weight)

    def _turned(self, x: Tensor, positions: Tensor) -> Tensor:
        cos, sin = self.rotary[positions].unsqueeze(1).chunk(2, -1)
        first, second = x.chunk(2, -1)
        return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)

    def _rotary(self) -> Tensor:
        half = self.dims.head_dim // 2
        frequency = 10000.0 ** (-torch.arange(half, device=self.device) / half)
        angle = torch.arange(self.dims.max_model_len, device=self.device)[:, None] * frequency
        return torch.cat((angle.cos(), angle.sin()), -1).to(self.dtype)

    def _layer(self) -> Layer:
        dims, family = self.dims, self.family
        queries = self.heads * dims.head_dim
        rows = queries + 2 * self.kv_heads * dims.head_dim
        bias = self._weights(rows) if family.qkv_bias or family.all_bias else None
        return Layer(
            norms=(self._ones(dims.hidden), self._ones(dims.hidden)),
            qkv=self._weights(rows, dims.hidden),
            qkv_bias=bias,
            out=self._weights(dims.hidden, queries),
            up=self._weights((2 if family.gated else 1) * self.ffn, dims.hidden),
            down=self._weights(dims.hidden, self.ffn),
        )

    def _weights(self, *shape: int) -> Tensor:
        made = torch.empty(shape, dtype=self.dtype, device=self.device)
        return made.normal_(0.0, SCALE, generator=self._random)

    def _ones(self, size: int) -> Tensor:
        return torch.ones(size, dtype=self.dtype, device=self.device)


def _attend(q: Tensor, keys: Tensor, values: Tensor, part: Part) -> Tensor:
    """Attention of equal requests: (rows, heads, head_dim) -> (rows, heads * head_dim)."""
    count, tokens, length = part.group.count, part.group.tokens, part.group.length
    k, v = (kv[part.tables].flatten(1, 2)[:, :length].transpose(1, 2) for kv in (keys, values))
    mask = None if tokens == 1 else causal_lower_right(tokens, length)
    out = F.scaled_dot_product_attention(
        q.unflatten(0, (count, tokens)).transpose(1, 2), k, v, attn_mask=mask, enable_gqa=True
    )
    return out.transpose(1, 2).flatten(2).flatten(0, 1)
