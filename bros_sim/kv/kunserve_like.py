"""KunServe's idea (arXiv 2412.18169v5, EuroSys 2026): parameters make room for KV in a burst."""

from dataclasses import dataclass, field
from typing import Annotated

from annotated_doc import Doc
from annotated_types import Ge, Le

from bros_sim.engine.sequence import SequenceView
from bros_sim.kv.paged import PagedKV


@dataclass
class KunserveLikeKV(PagedKV):
    """A paged KV cache that grows by the room of replicated parameters when blocks run short.

    Every replica of a group keeps ``1 / group`` of the layers and hands the room of the others to
    its KV; the group then computes as a pipeline, in which the replicas' batches are the micro
    batches. The parameters come back at a finish that leaves few enough blocks in use.

    Exact: how much memory a drop gives (all parameters of the model, in equal parts), that it
    precedes every preemption and every wait for memory, that prefixes and requests keep their
    blocks.

    Simplified: each replica drops and restores for itself, in the iteration that lacks a block or
    finishes a request, not with its group or by a monitor (the authors' code: every 0.1 s). What
    the pipeline costs is the number ``slowdown``. Its default is inferred: two replicas of
    experiments/kunserve_like.yaml that wait for each other after every iteration take 1.12 to 1.19
    times as long (docs/related.md); sending activations is not in it. A replica has its own share
    of the new room alone, though a pipelined group could share all of its KV. Exchanging the KV of
    running requests, and bringing parameters back, cost nothing (the paper overlaps them with
    computation). Groups that merge further are not modelled.
    """

    extra_blocks: Annotated[
        int, Ge(0), Doc("blocks in the room of the parameters that a replica drops")
    ] = 0
    group: Annotated[int, Ge(2), Doc("replicas that keep one copy of the parameters together")] = 2
    slowdown: Annotated[
        float, Ge(1), Doc("factor on iteration times while dropped; the number of replicas at most")
    ] = 1.15
    restore_below: Annotated[
        float, Ge(0), Le(1), Doc("share of its own blocks in use that lets parameters come back")
    ] = 0.5
    _dropped: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.slowdown > self.group:
            raise ValueError(
                f"slowdown {self.slowdown:g} is over group {self.group}: batches that take turns"
                " on the whole pipeline cost no more than that"
            )

    @property
    def usable_blocks(self) -> int:
        """Blocks that requests can hold, with those in the room of dropped parameters."""
        return self.num_gpu_blocks - 1 + (self.extra_blocks if self._dropped else 0)

    @property
    def pace(self) -> float:
        """See `ChangesCost.pace`."""
        return self.slowdown if self._dropped else 1.0

    def release(self, seq: SequenceView, *, resumable: bool) -> None:
        """See `KVManager.release`; parameters come back when a finish leaves little in use."""
        super().release(seq, resumable=resumable)
        own = self.num_gpu_blocks - 1
        used = self.usable_blocks - self.free_blocks
        if self._dropped and not resumable and used <= self.restore_below * own:
            self._pool.take(self.extra_blocks)
            self._journal.set(self, "_dropped", value=False)

    def _has_room(self, blocks: int) -> bool:
        """Whether so many blocks are free, if need be after parameters were dropped."""
        if blocks <= self.free_blocks:
            return True
        if self._dropped or blocks > self.free_blocks + self.extra_blocks:
            return False
        self._pool.give(self.extra_blocks, hashed=False)
        self._journal.set(self, "_dropped", value=True)
        return True
