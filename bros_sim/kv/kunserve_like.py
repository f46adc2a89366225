"""KunServe's idea (arXiv 2412.18169v5, EuroSys 2026): parameters make room for KV in a burst."""

from typing import TYPE_CHECKING

from bros_sim.engine.sequence import SequenceView
from bros_sim.kv.paged import PagedKV

if TYPE_CHECKING:
    from bros_sim.kv.parameters import KunserveLikeParameters


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

    def __init__(self, parameters: "KunserveLikeParameters") -> None:
        super().__init__(parameters)
        self.extra_blocks = parameters.extra_blocks
        self.slowdown = parameters.slowdown
        self.restore_below = parameters.restore_below
        self._dropped = False

    @property
    def usable_blocks(self) -> int:
        return self.num_gpu_blocks - 1 + (self.extra_blocks if self._dropped else 0)

    @property
    def pace(self) -> float:
        return self.slowdown if self._dropped else 1.0

    def release(self, seq: SequenceView, *, resumable: bool) -> None:
        """Parameters come back when a finish leaves little in use."""
        super().release(seq, resumable=resumable)
        own = self.num_gpu_blocks - 1
        used = self.usable_blocks - self.free_blocks
        if self._dropped and not resumable and used <= self.restore_below * own:
            self._pool.take(self.extra_blocks)
            self._journal.set(self, "_dropped", value=False)

    def _has_room(self, blocks: int) -> bool:
        if blocks <= self.free_blocks:
            return True
        if self._dropped or blocks > self.free_blocks + self.extra_blocks:
            return False
        self._pool.give(self.extra_blocks, hashed=False)
        self._journal.set(self, "_dropped", value=True)
        return True
