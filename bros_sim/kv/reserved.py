"""KV cache that reserves: TGI's block allocator (backends/v3/src/block_allocator.rs, 3.3.6-dev0).

A request gets the blocks of its whole life when it leaves the queue, ``input + max_tokens - 1``
tokens' worth (the last token needs no slot), and gives them back when it has finished. So nobody
ever lacks a block later, and nobody is preempted for one. Block 0 serves health checks.

Exact: how many blocks a request takes, and when. Left out: the radix prefix cache that TGI has by
default with flashinfer. It never keeps a request waiting that would fit without it, so with
prompts that share nothing (and no prefix hashes in the workload) the decisions are the same; with
shared prefixes the real engine computes less and holds fewer blocks than this one.
"""

import sys
from collections import abc
from collections.abc import Iterable
from typing import TYPE_CHECKING

from bros_sim.core.errors import LawBroken
from bros_sim.engine.sequence import Seqs, SequenceView
from bros_sim.kv.base import BaseKV

if TYPE_CHECKING:
    from bros_sim.kv.parameters import ReservedParameters


class ReservedKV(BaseKV):
    """Of ``floor(max_batch_total_tokens / block_size)`` blocks one is never used.

    TGI's block size is 1 with flashinfer, its default on A100 and H100, and 16 with paged
    attention, which goes with ``chunking: false`` of the scheduler.
    """

    reserves = True

    def __init__(self, parameters: "ReservedParameters") -> None:
        super().__init__(parameters.num_gpu_blocks, parameters.block_size)
        self.max_batch_total_tokens = parameters.max_batch_total_tokens
        self._held: dict[int, int] = {}
        self.free_blocks = self.usable_blocks

    @property
    def usable_blocks(self) -> int:
        tokens = self.max_batch_total_tokens
        return (self.num_gpu_blocks if tokens is None else tokens // self.block_size) - 1

    def admit(
        self, seq: SequenceView, num_tokens: int, hit: abc.Sequence[object], *,
        must_fit: int, spare: int, lenders: Seqs = (),
    ) -> bool:  # fmt: skip
        """Room for all that the request may ever need, or none."""
        need = self.blocks_for_life(seq)
        if need + spare > self.free_blocks:
            return False
        self._journal.put(self._held, seq.id, need)
        self._journal.set(self, "free_blocks", self.free_blocks - need)
        return True

    def blocks_for_life(self, seq: SequenceView) -> int:
        """Blocks of the prompt and of the longest output but for its last token."""
        return -(-(seq.prompt_tokens + seq.max_tokens - 1) // self.block_size)

    def extend(self, seq: SequenceView, num_tokens: int, *, lenders: Seqs = ()) -> bool:
        return num_tokens <= self._held[seq.id] * self.block_size

    def extend_all(self, seqs: Seqs) -> int:
        return len(seqs)

    def extend_decodes(self) -> bool:
        return True

    def release(self, seq: SequenceView, *, resumable: bool) -> None:
        blocks = self._journal.pop(self._held, seq.id)
        self._journal.set(self, "free_blocks", self.free_blocks + blocks)

    def spare_iterations(self) -> int:
        return sys.maxsize - 1

    def check(self, seqs: Iterable[SequenceView]) -> None:
        """Raise `LawBroken` unless who runs holds its life's blocks and all others are free."""
        life = {seq.id: self.blocks_for_life(seq) for seq in seqs}
        if life != self._held:
            raise LawBroken(f"L4: blocks reserved {self._held}, running requests need {life}")
        free, held, usable = self.free_blocks, sum(life.values()), self.usable_blocks
        if free + held != usable or free < 0:
            raise LawBroken(f"L4: {free} free + {held} reserved != {usable} blocks")
