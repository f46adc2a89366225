"""What YAML sets of a KV manager: the base class, and the parameters of the shipped managers."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_doc import Doc
from annotated_types import Ge, Le

from bros_sim.core.world import Fidelity, Given, Parameters, Supplied, World
from bros_sim.engine.kv_cache import KVManager
from bros_sim.kv.bidirectional import BidirectionalKV
from bros_sim.kv.eager_checkpoint import EagerCheckpointKV
from bros_sim.kv.kunserve_like import KunserveLikeKV
from bros_sim.kv.paged import PagedKV, VllmRelease
from bros_sim.kv.reserved import ReservedKV


class KvParameters(Parameters):
    """Base of the KV managers' parameters: frozen dataclasses whose fields are the YAML's keys."""

    reserves: ClassVar[bool] = False
    """Whether who is admitted never lacks a block later (`KVManager.reserves`)."""

    def make(self, world: World) -> KVManager:
        """The KV manager of one replica."""
        raise NotImplementedError

    def slots(self, world: World) -> int:
        """Tokens that one replica holds at its start."""
        manager = self.make(world)
        return manager.usable_blocks * manager.block_size


def _gpu_blocks(world: World, given: Given) -> int:
    """The profile's KV size in blocks of this manager's size; the null block is not scaled."""
    if world.num_gpu_blocks is not None:
        return world.num_gpu_blocks
    size = given.number_or_default("block_size") or world.profile_block_size
    if size == world.profile_block_size:
        return world.profile_blocks
    return 1 + (world.profile_blocks - 1) * world.profile_block_size // size


def _cpu_blocks(world: World, given: Given) -> int | None:
    """What the host's memory for KV holds, in blocks of this manager's size."""
    if world.host_kv_gib is None:
        return None
    size = given.number_or_default("block_size") or world.profile_block_size
    return int(world.host_kv_gib * 2**30) // (size * world.kv_bytes_per_token)


def _dropped_blocks(world: World, given: Given) -> int:
    """What fits into the room of the parameters that a replica of a group can do without."""
    group = given.number_or_default("group") or 2
    size = given.number_or_default("block_size") or world.profile_block_size
    dropped = world.weight_bytes * (group - 1) // group
    return dropped // (size * world.kv_bytes_per_token)


GpuBlocks = Annotated[int, Ge(2), Supplied("that of the cluster or its profile", _gpu_blocks)]
"""``num_gpu_blocks`` of any KV manager."""
CpuBlocks = Annotated[
    int, Ge(0), Supplied("the CPU memory of the profile (host.kv_gib)", _cpu_blocks)
]


def _lacks_host(world: World) -> tuple[str, ...]:
    """Why a manager that copies to the CPU cannot be used, if it can't."""
    if world.host_kv_gib is not None:
        return ()
    return (f"profile {world.profile} has no `host`: what copies to the CPU cost is not known",)


@dataclass(frozen=True)
class PagedParameters(KvParameters):
    """vLLM's paged KV cache: blocks on demand, prefix caching, preemption by recompute."""

    num_gpu_blocks: Annotated[GpuBlocks, Doc("KV blocks, vLLM's null block included")]
    block_size: Annotated[int, Ge(1), Doc("tokens per KV block")] = 16
    enable_prefix_caching: Annotated[bool, Doc("reuse the blocks of equal prefixes")] = True
    version: Annotated[
        VllmRelease,
        Doc("vLLM release whose free-list order is mirrored (it decides what is evicted first)"),
    ] = "0.33.0"
    cpu_blocks: Annotated[
        int, Ge(0), Doc("blocks' worth of KV slots on the CPU for a scheduler that swaps")
    ] = 0
    relay_attention: Annotated[
        bool, Doc("read the KV of a stream's system prompt once for 64 requests (2402.14808)")
    ] = False

    @property
    def mirrors(self) -> str:
        return f"vLLM {self.version} V1 KV cache manager and block pool"

    def conflicts(self, world: World) -> tuple[str, ...]:
        if self.relay_attention and not self.enable_prefix_caching:
            return (
                "relay_attention needs enable_prefix_caching: else every request has its own copy",
            )
        return ()

    def make(self, world: World) -> PagedKV:
        return PagedKV(self)


@dataclass(frozen=True)
class EagerCheckpointParameters(PagedParameters):
    """`paged`, and preempted best-effort requests get back from the CPU what the GPU lost."""

    fidelity: ClassVar[Fidelity] = "simplified"

    cpu_blocks: Annotated[
        CpuBlocks, Doc("blocks' worth of KV slots on the CPU for checkpoints; 0 = none are made")
    ] = 8192

    @property
    def mirrors(self) -> str:
        return "ConServe's KV cache (arXiv 2410.01228v2), simplified: whole blocks are saved"

    def conflicts(self, world: World) -> tuple[str, ...]:
        return (*super().conflicts(world), *_lacks_host(world))

    def make(self, world: World) -> EagerCheckpointKV:
        return EagerCheckpointKV(self)


@dataclass(frozen=True)
class KunserveLikeParameters(PagedParameters):
    """A paged KV cache that grows by the room of replicated parameters when blocks run short."""

    fidelity: ClassVar[Fidelity] = "like"

    extra_blocks: Annotated[
        int,
        Ge(0),
        Supplied("the parameters' share beyond 1 / group", _dropped_blocks),
        Doc("blocks in the room of the parameters that a replica drops"),
    ] = 0
    group: Annotated[int, Ge(2), Doc("replicas that keep one copy of the parameters together")] = 2
    slowdown: Annotated[
        float, Ge(1), Doc("factor on iteration times while dropped; the number of replicas at most")
    ] = 1.15
    restore_below: Annotated[
        float, Ge(0), Le(1), Doc("share of its own blocks in use that lets parameters come back")
    ] = 0.5

    def __post_init__(self) -> None:
        if self.slowdown > self.group:
            raise ValueError(
                f"slowdown {self.slowdown:g} is over group {self.group}: batches that take turns"
                " on the whole pipeline cost no more than that"
            )

    @property
    def mirrors(self) -> str:
        return "the idea of KunServe (arXiv 2412.18169v5), gaps in its docstring"

    def conflicts(self, world: World) -> tuple[str, ...]:
        if world.replicas % self.group:
            return (f"{world.replicas} replicas are no whole groups of {self.group}",)
        return super().conflicts(world)

    def make(self, world: World) -> KunserveLikeKV:
        return KunserveLikeKV(self)


@dataclass(frozen=True)
class BidirectionalParameters(KvParameters):
    """A block holds one RT request's KV from the left and one BE request's from the right."""

    fidelity: ClassVar[Fidelity] = "reconstructed"

    num_gpu_blocks: Annotated[
        GpuBlocks, Doc("KV blocks; one is never used, to compare with vLLM's null block")
    ]
    block_size: Annotated[int, Ge(1), Doc("tokens per KV block")] = 16
    cpu_blocks: Annotated[
        CpuBlocks, Doc("blocks' worth of KV slots on the CPU (the paper gives none: inferred)")
    ] = 8192

    @property
    def mirrors(self) -> str:
        return "BROS's KV cache (arXiv 2504.09590v1), reconstructed: docs/paper-map.md"

    def conflicts(self, world: World) -> tuple[str, ...]:
        return _lacks_host(world)

    def make(self, world: World) -> BidirectionalKV:
        return BidirectionalKV(self)


@dataclass(frozen=True)
class ReservedParameters(KvParameters):
    """TGI's KV cache: a request's blocks up to its max_tokens are taken when it is admitted."""

    reserves: ClassVar[bool] = True

    num_gpu_blocks: Annotated[GpuBlocks, Doc("KV blocks, TGI's block 0 included")]
    block_size: Annotated[int, Ge(1), Doc("tokens per KV block")] = 1
    max_batch_total_tokens: Annotated[
        Annotated[int, Ge(1)] | None,
        Doc("KV capacity in tokens, block 0 included; default: all blocks, as TGI infers it"),
    ] = None

    def __post_init__(self) -> None:
        tokens, all_tokens = self.max_batch_total_tokens, self.num_gpu_blocks * self.block_size
        if tokens is not None and not 2 * self.block_size <= tokens <= all_tokens:
            raise ValueError(
                f"max_batch_total_tokens should be from {2 * self.block_size}, two blocks, to"
                f" {all_tokens}, what {self.num_gpu_blocks} blocks hold (got {tokens})"
            )

    @property
    def mirrors(self) -> str:
        return "TGI 3.3.6-dev0 block allocator (no prefix cache), by reading"

    def make(self, world: World) -> ReservedKV:
        return ReservedKV(self)
