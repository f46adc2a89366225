"""The batches to measure on a GPU, and their file, that of ``vllm bench forward --shapes``.

GPU kernels like powers of two: a table of them alone is too fast between, so it has half-way sizes.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from bros_sim.calibration.files import Count, Foreign, checked, read_json, refuse
from bros_sim.calibration.models import ModelConfig
from bros_sim.calibration.profiles import BLOCK_SIZE, RESERVE_GIB, UTILIZATION
from bros_sim.core.atomic import written
from bros_sim.core.errors import InputError
from bros_sim.engine.latency_model import StepShape
from bros_sim.profiles.profile import GIB, Gpu, kv_room_bytes

CONTEXTS = (128, 512, 2048, 8192, 32768)
FIRST_CHUNK = 16
LEAST_CHUNK_AFTER_CONTEXT = 64

CASE_S = 3.0
START_S = 120.0
REPLAYS = 100
FLOP_PER_BYTE = 140
"""Rough, for ``vllm bench forward``: to build, capture and warm up one batch; to start the engine
with dummy weights; 20 replays in each of 5 samples; sustained arithmetic of a data-centre GPU over
its memory bandwidth."""


@dataclass(frozen=True)
class Group:
    """``count`` equal requests: ``tokens`` computed now, after ``context`` tokens in the cache."""

    count: int
    tokens: int
    context: int

    @property
    def length(self) -> int:
        """Tokens of a request after the iteration."""
        return self.context + self.tokens

    @property
    def decodes(self) -> bool:
        """One token after others; else a prefill."""
        return self.tokens == 1 and self.context > 0


@dataclass(frozen=True)
class Case:
    """One batch."""

    name: str
    groups: tuple[Group, ...]

    @property
    def tokens(self) -> int:
        """Tokens computed in the iteration."""
        return sum(group.count * group.tokens for group in self.groups)

    @property
    def blocks(self) -> int:
        """KV blocks that the batch holds after the iteration."""
        return sum(group.count * -(-group.length // BLOCK_SIZE) for group in self.groups)

    @property
    def longest(self) -> int:
        """Tokens of the longest request after the iteration."""
        return max(group.length for group in self.groups)

    @property
    def shape(self) -> StepShape:
        """The batch as latency models see it."""
        decodes = [g for g in self.groups if g.decodes]
        chunks = (((g.tokens, g.context),) * g.count for g in self.groups if not g.decodes)
        kv_tokens = sum(g.count * g.length for g in decodes)
        return StepShape(sum(chunks, ()), sum(g.count for g in decodes), kv_tokens)


def write_shapes(cases: Iterable[Case], path: Path) -> None:
    """Write the batches as JSON, whole or not at all."""
    lines = ",\n".join(json.dumps(_entry(case)) for case in cases)
    with written(path) as draft:
        draft.write_text(f'{{"cases": [\n{lines}\n]}}\n', encoding="utf-8")


def _entry(case: Case) -> dict[str, Any]:
    requests = []
    for g in case.groups:
        sizes = {"query_len": g.tokens, "kv_len": g.length}
        chunked = bool(g.context) and not g.decodes
        requests.append({**sizes, "chunked": chunked, "count": g.count})
    return {"name": case.name, "requests": requests}


class BatchRequest(Foreign):
    """A request of a batch as vLLM writes it: tokens computed now, and with those before."""

    query_len: Count
    kv_len: Count

    @property
    def fault(self) -> str:
        """What is wrong with the lengths, if anything."""
        what = f"kv_len: {self.kv_len} is less than query_len {self.query_len}"
        return what if self.kv_len < self.query_len else ""

    def group(self, count: int = 1) -> Group:
        """So many of it."""
        return Group(count, self.query_len, self.kv_len - self.query_len)


class _Request(BatchRequest):
    num_draft_tokens: Annotated[int, Field(le=0)] = 0
    count: Count = 1


class _Case(Foreign):
    name: str
    requests: Annotated[list[_Request], Field(min_length=1)]


class _Shapes(Foreign):
    cases: Annotated[list[_Case], Field(min_length=1)]


def read_shapes(path: Path) -> list[Case]:
    """The batches of a shapes file; `InputError` with one line for each fault."""
    shapes = checked(_Shapes, read_json(path), str(path))
    faults = [
        f"{path}: cases.{n}.requests.{m}.{request.fault}"
        for n, case in enumerate(shapes.cases)
        for m, request in enumerate(case.requests)
        if request.fault
    ]
    refuse(str(path), faults)
    return [Case(c.name, tuple(r.group(r.count) for r in c.requests)) for c in shapes.cases]


@dataclass(frozen=True)
class Room:
    """What a batch may be: the engine's limits and the KV blocks of the replica."""

    blocks: int
    max_num_batched_tokens: int
    max_num_seqs: int
    max_model_len: int

    def holds(self, case: Case) -> bool:
        """Whether the engine could run the batch."""
        limits = (self.max_num_batched_tokens, self.max_num_seqs, self.max_model_len, self.blocks)
        requests = sum(group.count for group in case.groups)
        sizes = (case.tokens, requests, case.longest, case.blocks)
        return all(size <= limit for size, limit in zip(sizes, limits, strict=True))


def room_on(gpu: Gpu, model: ModelConfig, tp: int, budget: int, max_num_seqs: int) -> Room:
    """The room on ``tp`` GPUs; `InputError` if the weights leave none for a cache."""
    room = kv_room_bytes(gpu.memory_gib, UTILIZATION, RESERVE_GIB, tp, model.weight_bytes)
    blocks = int(room // (BLOCK_SIZE * model.cache_bytes_per_token(tp)))
    if blocks < 2:
        raise InputError(
            f"--gpu {gpu.name}: {tp} x {gpu.memory_gib:g} GiB are too little for"
            f" {model.shape.name}: its weights are {model.weight_bytes / GIB:.1f} GiB"
        )
    without_null = blocks - 1  # vLLM keeps one back
    return Room(without_null, budget, max_num_seqs, model.shape.max_model_len)


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
    budget = room.max_num_batched_tokens
    for seqs in sorted({min(seqs, room.max_num_seqs - 1) for seqs in (8, 64, room.max_num_seqs)}):
        for tokens in (budget // 16, budget // 4, budget - seqs):
            for context in (0, 2048):
                for kv in (128, 1024):
                    if seqs >= 1 and tokens >= FIRST_CHUNK:
                        name = f"mixed-{tokens}-after-{context}-{seqs}x{kv}"
                        yield Case(name, (Group(1, tokens, context), Group(seqs, 1, kv - 1)))


def estimated_s(cases: list[Case], gpu: Gpu, model: ModelConfig, tp: int) -> float:
    """Seconds that ``vllm bench forward`` will take, roughly: a roofline and fixed shares."""
    bytes_s = tp * gpu.bandwidth_gb_s * 1e9
    total_s = START_S
    for case in cases:
        kv_bytes = case.blocks * BLOCK_SIZE * model.cache_bytes_per_token(tp)
        arithmetic = 2 * model.shape.active_parameters * case.tokens / FLOP_PER_BYTE
        step_s = (max(model.weight_bytes, arithmetic) + kv_bytes) / bytes_s
        total_s += CASE_S + REPLAYS * step_s
    return total_s
