"""The grid of batches to measure on a GPU so that a latency model can be fitted.

Powers of two are sweet spots of GPU kernels: a table of them alone is too fast in between. So the
grids of tokens and of decoding requests also hold the sizes half-way.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from bros_sim.calibration.model_dims import ModelDims
from bros_sim.calibration.shapes import Case, Group
from bros_sim.core.errors import InputError
from bros_sim.profiles.profile import GIB, Gpu

BLOCK_SIZE = 16
UTILIZATION = 0.9
"""vLLM's ``gpu_memory_utilization``."""
RESERVE_GIB = 1.25
"""For activations and the CUDA context, per GPU: docs/latency.md."""
CONTEXTS = (128, 512, 2048, 8192, 32768)
FIRST_CHUNK = 16
LEAST_CHUNK_AFTER_CONTEXT = 64

CASE_S = 3.0
"""Rough: building, capturing and warming up one batch in ``vllm bench forward``."""
START_S = 120.0
"""Rough: starting the engine with dummy weights."""
REPLAYS = 100
"""``vllm bench forward``: 20 replays in each of 5 samples."""
FLOP_PER_BYTE = 140
"""Rough: sustained arithmetic of a data-centre GPU over its memory bandwidth."""


@dataclass(frozen=True)
class Room:
    """What a batch may be: the engine's limits and the KV blocks of the replica."""

    blocks: int
    max_num_batched_tokens: int
    max_num_seqs: int
    max_model_len: int

    def holds(self, case: Case) -> bool:
        """Whether the engine could run the batch."""
        longest = max(group.tokens + group.context for group in case.groups)
        return (
            case.tokens <= self.max_num_batched_tokens
            and case.requests <= self.max_num_seqs
            and longest <= self.max_model_len
            and case.blocks(BLOCK_SIZE) <= self.blocks
        )


def room_on(gpu: Gpu, model: ModelDims, tp: int, budget: int, max_num_seqs: int) -> Room:
    """The room on ``tp`` GPUs, by the rule for KV blocks of docs/latency.md.

    Raises:
        InputError: The weights leave no room for a cache.
    """
    usable = tp * (gpu.memory_gib * UTILIZATION - RESERVE_GIB) * GIB
    blocks = int((usable - model.weight_bytes) // (BLOCK_SIZE * model.kv_bytes_per_token(tp)))
    if blocks < 2:
        raise InputError(
            f"--gpu {gpu.name}: {tp} x {gpu.memory_gib:g} GiB are too little for {model.name}:"
            f" its weights are {model.weight_bytes / GIB:.1f} GiB"
        )
    return Room(blocks - 1, budget, max_num_seqs, model.max_model_len)  # one is vLLM's null block


def plan(room: Room) -> list[Case]:
    """The batches to measure: decode, prefill and mixed, as many as fit in the room."""
    cases = [*_decodes(room), *_prefills(room), *_prompts(room), *_mixed(room)]
    return [case for case in {case.name: case for case in cases}.values() if room.holds(case)]


def spread(first: int, last: int) -> list[int]:
    """Powers of two times ``first`` and the sizes half-way between them, up to ``last``."""
    sizes, size = [], first
    while size <= last:
        sizes += [size, size * 3 // 2] if size > 1 else [size]
        size *= 2
    return sorted({size for size in sizes if size < last} | {last})


def _decodes(room: Room) -> Iterator[Case]:
    """Few requests up to many, short KV up to what fits."""
    for seqs in spread(1, room.max_num_seqs):
        most = min(room.blocks // seqs * BLOCK_SIZE, room.max_model_len)
        for kv in (*(kv for kv in CONTEXTS if kv < 0.8 * most), most):
            if kv > 1:
                yield Case(f"decode-{seqs}x{kv}", (Group(seqs, 1, kv - 1),))


def _prefills(room: Room) -> Iterator[Case]:
    """One chunk of every size without context, and powers of two of it after cached tokens."""
    last = min(room.max_num_batched_tokens, room.max_model_len)
    for tokens in spread(FIRST_CHUNK, last):
        yield Case(f"prefill-{tokens}", (Group(1, tokens, 0),))
        if tokens < LEAST_CHUNK_AFTER_CONTEXT or tokens & (tokens - 1):
            continue
        for context in CONTEXTS[1:]:
            yield Case(f"prefill-{tokens}-after-{context}", (Group(1, tokens, context),))


def _prompts(room: Room) -> Iterator[Case]:
    """Several whole prompts at once: what a chunk costs beyond its tokens."""
    for count in (2, 4, 8, 16):
        for share in (1, 4):
            tokens = room.max_num_batched_tokens // (count * share)
            if tokens >= FIRST_CHUNK:
                yield Case(f"prefill-{count}x{tokens}", (Group(count, tokens, 0),))


def _mixed(room: Room) -> Iterator[Case]:
    """A chunk beside decoding requests, up to a full budget."""
    budget = room.max_num_batched_tokens
    for seqs in sorted({min(seqs, room.max_num_seqs - 1) for seqs in (8, 64, room.max_num_seqs)}):
        for tokens in (budget // 16, budget // 4, budget - seqs):
            for context in (0, 2048):
                for kv in (128, 1024):
                    if seqs < 1 or tokens < FIRST_CHUNK:
                        continue
                    name = f"mixed-{tokens}-after-{context}-{seqs}x{kv}"
                    yield Case(name, (Group(1, tokens, context), Group(seqs, 1, kv - 1)))


def estimated_s(cases: list[Case], gpu: Gpu, model: ModelDims, tp: int) -> float:
    """Seconds that ``vllm bench forward`` will take, roughly: a roofline and fixed shares."""
    bytes_s = tp * gpu.bandwidth_gb_s * 1e9
    total_s = START_S
    for case in cases:
        kv_bytes = case.blocks(BLOCK_SIZE) * BLOCK_SIZE * model.kv_bytes_per_token(tp)
        arithmetic = 2 * model.parameters * case.tokens / FLOP_PER_BYTE
        step_s = (max(model.weight_bytes, arithmetic) + kv_bytes) / bytes_s
        total_s += CASE_S + REPLAYS * step_s
    return total_s
