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
from dataclasses import dataclass, field
from typing import Annotated

from annotated_doc import Doc
from annotated_types import Ge

from bros_sim.core.errors import LawBroken
from bros_sim.engine.kv_cache import Copy
from bros_sim.engine.sequence import SequenceView
from bros_sim.kv.journal import Journal


@dataclass
class ReservedKV:
    """TGI's KV cache: a request's blocks up to its max_tokens are taken when it is admitted.

    Of ``floor(max_batch_total_tokens / block_size)`` blocks one is never used. TGI's block size
    is 1 with flashinfer, its default on A100 and H100, and 16 with paged attention, which goes with
    ``chunking: false`` of the scheduler. Any scheduler can use it; prefixes are not cached, and
    nothing is swapped.
    """

    num_gpu_blocks: Annotated[int, Ge(2), Doc("KV blocks, TGI's block 0 included")]
    block_size: Annotated[int, Ge(1), Doc("tokens per KV block")] = 1
    max_batch_total_tokens: Annotated[
        Annotated[int, Ge(1)] | None,
        Doc("KV capacity in tokens, block 0 included; default: all blocks, as TGI infers it"),
    ] = None
    _free: int = field(init=False)
    _held: dict[int, int] = field(init=False, default_factory=dict)
    _journal: Journal = field(init=False, default_factory=Journal)

    def __post_init__(self) -> None:
        tokens, all_tokens = self.max_batch_total_tokens, self.num_gpu_blocks * self.block_size
        if tokens is not None and not 2 * self.block_size <= tokens <= all_tokens:
            raise ValueError(
                f"max_batch_total_tokens should be from {2 * self.block_size}, two blocks, to"
                f" {all_tokens}, what {self.num_gpu_blocks} blocks hold (got {tokens})"
            )
        self._free = self.usable_blocks

    @property
    def can_lend(self) -> bool:
        """See `KVManager.can_lend`."""
        return False

    @property
    def reserves(self) -> bool:
        """See `KVManager.reserves`."""
        return True

    @property
    def usable_blocks(self) -> int:
        """Blocks that requests can hold: all but block 0."""
        tokens = self.max_batch_total_tokens
        return (self.num_gpu_blocks if tokens is None else tokens // self.block_size) - 1

    @property
    def free_blocks(self) -> int:
        """Blocks that nobody has reserved, the open draft included."""
        return self._free

    # -- drafts ---------------------------------------------------------------------------------

    def mark(self) -> int:
        """See `KVManager.mark`."""
        return self._journal.mark()

    def rollback(self, mark: int = 0) -> None:
        """See `KVManager.rollback`."""
        self._journal.rollback(mark)

    def commit(self) -> None:
        """See `KVManager.commit`."""
        self._journal.commit()

    # -- what a policy writes into a draft ------------------------------------------------------

    def lookup(self, seq: SequenceView) -> abc.Sequence[object]:  # noqa: ARG002
        """Nothing is cached."""
        return ()

    def admit(
        self,
        seq: SequenceView,
        num_tokens: int,  # noqa: ARG002
        hit: abc.Sequence[object],  # noqa: ARG002
        *,
        must_fit: int,  # noqa: ARG002
        spare: int,
        lenders: abc.Sequence[SequenceView] = (),  # noqa: ARG002
    ) -> bool:
        """See `KVManager.admit`; room for all that the request may ever need, or none."""
        need = self.blocks_for_life(seq)
        if need + spare > self._free:
            return False
        self._journal.put(self._held, seq.id, need)
        self._journal.set(self, "_free", self._free - need)
        return True

    def blocks_for_life(self, seq: SequenceView) -> int:
        """Blocks of the prompt and of the longest output but for its last token."""
        return -(-(seq.prompt_tokens + seq.max_tokens - 1) // self.block_size)

    def extend(
        self,
        seq: SequenceView,
        num_tokens: int,
        *,
        lenders: abc.Sequence[SequenceView] = (),  # noqa: ARG002
    ) -> bool:
        """See `KVManager.extend`: the room is there already."""
        return num_tokens <= self._held[seq.id] * self.block_size

    def extend_all(self, seqs: abc.Sequence[SequenceView]) -> int:
        """See `KVManager.extend_all`: the room is there already."""
        return len(seqs)

    def extend_decodes(self) -> bool:
        """See `KVManager.extend_decodes`: the room is there already."""
        return True

    @property
    def restores_nothing(self) -> bool:
        """Nothing is swapped."""
        return True

    def swap_out(self, seq: SequenceView) -> bool:  # noqa: ARG002
        """Nothing is swapped."""
        return False

    def blocks_to_restore(self, seq: SequenceView) -> int:  # noqa: ARG002
        """Nothing is swapped."""
        return 0

    def take_copies(self) -> abc.Sequence[Copy]:
        """Nothing is copied."""
        return ()

    def release(self, seq: SequenceView, *, resumable: bool) -> None:  # noqa: ARG002
        """See `KVManager.release`."""
        blocks = self._journal.pop(self._held, seq.id)
        self._journal.set(self, "_free", self._free + blocks)

    # -- the decode cohort ----------------------------------------------------------------------

    def join(self, seq: SequenceView) -> None:
        """See `KVManager.join`."""

    def leave(self, seq: SequenceView) -> None:
        """See `KVManager.leave`."""

    def spare_iterations(self) -> int:
        """See `KVManager.spare_iterations`: memory ends no stretch."""
        return sys.maxsize - 1

    def advance(self, iterations: int) -> None:
        """See `KVManager.advance`: the room is there already."""

    def check(self, seqs: Iterable[SequenceView]) -> None:
        """Raise `LawBroken` unless who runs holds its life's blocks and all others are free.

        No request may have more tokens than it has room for.
        """
        life = {seq.id: self.blocks_for_life(seq) for seq in seqs}
        if life != self._held:
            raise LawBroken(f"L4: blocks reserved {self._held}, running requests need {life}")
        if self._free + sum(life.values()) != self.usable_blocks or self._free < 0:
            raise LawBroken(
                f"L4: {self._free} free + {sum(life.values())} reserved"
                f" != {self.usable_blocks} blocks"
            )
