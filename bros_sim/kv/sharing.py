"""BROS's preemption table: which blocks two requests share, and which tokens were overwritten.

Token ``t`` of a real-time request lies in slot ``t % S`` of its block ``t // S`` (``S`` = block
size), that of a best-effort request in slot ``S - 1 - t % S``. So the two grow towards each other,
and what the real-time request overwrites is a suffix of the block's best-effort tokens. Only blocks
that two requests share, or that lost best-effort tokens, are objects; all others follow from token
counts.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from bros_sim.core.request import ServiceClass
from bros_sim.engine.sequence import Seqs, SequenceView
from bros_sim.kv.base import Journal
from bros_sim.kv.cpu_store import CpuStore


@dataclass(slots=True, eq=False)
class Holding:
    """The KV of one sequence."""

    seq: SequenceView
    tokens: int = 0
    """Room in tokens, or tokens on the CPU when swapped out; of a cohort member it is derived."""
    swapped: bool = False
    shared: "dict[int, SharedBlock]" = field(default_factory=dict)
    """Those of its blocks that are objects, by index."""
    damaged: int = 0
    """Blocks with tokens that were overwritten."""
    phase: int = -1
    """Of a cohort member: see `Crossings.add`; -1 outside the cohort."""
    top: int = -1
    """No block above this index can be lent: a hint that saves looking at lent ones."""
    relocated: int = 0
    """Blocks copied within the GPU because a real-time request was in the way."""

    @property
    def real_time(self) -> bool:
        """The side it is on: real-time left, best-effort right."""
        return self.seq.service_class is ServiceClass.RT


@dataclass(slots=True, eq=False)
class SharedBlock:
    """A BE request's block that an RT request shares, or whose newest tokens are lost."""

    be: Holding
    be_index: int
    rt: Holding | None = None
    rt_index: int = -1
    lost: int = 0
    """Newest best-effort tokens of the block that live only on the CPU."""


class PreemptionTable:
    """Who shares what. It knows what fits into a block, not how many blocks are free."""

    def __init__(self, block_size: int, journal: Journal, cpu: CpuStore) -> None:
        self._size = block_size
        self._journal = journal
        self._cpu = cpu
        self._mixed: dict[int, Holding] = {}
        """Requests with at least one shared or damaged block."""
        self.extended: set[int] = set()
        """Requests that the draft gave room, by id, until the coming iteration has ended."""
        self.cohort_extended = False

    def in_batch(self, holding: Holding) -> bool:
        """Whether the open draft has given the request room for the coming iteration."""
        seq = holding.seq
        return seq.id in self.extended or (self.cohort_extended and seq.decoding)

    def room(self, holding: Holding) -> int:
        """Tokens for which it has slots on the GPU, those lost in shared blocks included."""
        if holding.swapped:
            return 0
        if holding.seq.decoding:
            return holding.seq.num_computed + self.in_batch(holding)
        return holding.tokens

    def fill(self, tokens: int, index: int) -> int:
        """Tokens of block ``index`` of a request that has ``tokens`` in all."""
        return min(max(tokens - index * self._size, 0), self._size)

    def resident(self, holding: Holding, index: int) -> int:
        """Tokens of a best-effort request's block that are on the GPU."""
        block = holding.shared.get(index)
        return self.fill(self.room(holding), index) - (block.lost if block else 0)

    def overlap(self, be: Holding, index: int, rt_fill: int) -> int:
        """Best-effort tokens in the leftmost ``rt_fill`` slots of a best-effort request's block."""
        return max(0, rt_fill + self.resident(be, index) - self._size)

    def lendable(
        self, lenders: Seqs, holdings: dict[int, Holding]
    ) -> Iterator[tuple[Holding, int]]:
        """Blocks to borrow, in order: those with a gap, then full ones, of each the newest first.

        Whoever is in the batch already lends nothing.
        """
        found = (holdings.get(seq.id) for seq in lenders)
        able = [x for x in found if x and not (x.real_time or x.swapped or self.in_batch(x))]
        for holding in able:
            full, partly = divmod(self.room(holding), self._size)
            if partly and not self._lodger(holding, full):
                yield holding, full
        for holding in able:
            full = self.room(holding) // self._size
            top = full - 1 if holding.seq.decoding else min(full - 1, holding.top)
            for index in range(top, -1, -1):
                if not self._lodger(holding, index):
                    yield holding, index

    def _lodger(self, be: Holding, index: int) -> Holding | None:
        block = be.shared.get(index)
        return block.rt if block else None

    def lend(self, be: Holding, index: int, rt: Holding, rt_index: int) -> SharedBlock:
        """Let a real-time request into the next block of `lendable`; nothing is overwritten yet."""
        block = be.shared.get(index)
        if block is None:
            block = SharedBlock(be, index, rt, rt_index)
            self._attach(be, index, block)
        else:
            self._journal.set(block, "rt", rt)
            self._journal.set(block, "rt_index", rt_index)
        self._attach(rt, rt_index, block)
        self._journal.set(be, "top", index - 1)
        return block

    def overwrite(self, block: SharedBlock, tokens: int) -> None:
        """Checkpoint the block's ``tokens`` newest best-effort tokens: their slots are needed."""
        if tokens:
            self._set_lost(block, block.lost + tokens)
            self._cpu.save(block.be.seq, tokens)

    def to_restore(self, be: Holding, tokens: int) -> tuple[list[SharedBlock], list[SharedBlock]]:
        """Blocks that must be whole before it runs with ``tokens``: in place, and elsewhere.

        Elsewhere are those in which the real-time request leaves no room for all of them.
        """
        in_place, elsewhere = [], []
        for index, block in be.shared.items():
            taken = self.fill(self.room(block.rt), block.rt_index) if block.rt else 0
            if taken + self.fill(tokens, index) > self._size:
                elsewhere.append(block)
            elif block.lost:
                in_place.append(block)
        return in_place, elsewhere

    def restore(self, block: SharedBlock) -> None:
        """Copy the lost tokens back into the block."""
        self._load(block)
        if block.rt is None:
            self._detach(block.be, block.be_index)

    def relocate(self, block: SharedBlock) -> None:
        """Move the best-effort side to a block of its own, which the caller has taken."""
        be = block.be
        self._load(block)
        self._journal.set(be, "relocated", be.relocated + 1)
        self._journal.set(be, "top", max(be.top, block.be_index))
        self._drop_be(block)

    def vacate(self, holding: Holding) -> int:
        """Take a request's side of all its shared blocks away; how many of them others still hold.

        What a best-effort request has on the CPU is the caller's business.
        """
        kept = 0
        for block in list(holding.shared.values()):
            if holding.real_time:
                self._drop_rt(block, holding)
                kept += 1
            else:
                kept += block.rt is not None
                self._drop_be(block)
        return kept

    def _drop_rt(self, block: SharedBlock, rt: Holding) -> None:
        be = block.be
        self._detach(rt, block.rt_index)
        self._journal.set(block, "rt", None)
        self._journal.set(be, "top", max(be.top, block.be_index))
        if not block.lost:
            self._detach(be, block.be_index)

    def _drop_be(self, block: SharedBlock) -> None:
        self._set_lost(block, 0)
        self._detach(block.be, block.be_index)
        if block.rt is not None:
            self._detach(block.rt, block.rt_index)

    def iterations_within_gaps(self, granted: int) -> int:
        """Cohort iterations after ``granted`` more ones until two requests meet in a block.

        0 as well when a best-effort member must be restored first.
        """
        fewest = sys.maxsize
        for holding in self._mixed.values():
            if holding.seq.decoding:
                if holding.damaged:
                    return 0
                block = holding.shared.get(self._tail(holding, granted))
                if block and block.rt:
                    fewest = min(fewest, self._until_meeting(block, block.rt, granted))
        return fewest

    def _until_meeting(self, block: SharedBlock, rt: Holding, granted: int) -> int:
        be = block.be
        left = self.fill(self._after(rt, granted), block.rt_index)
        right = self.fill(self._after(be, granted), block.be_index) - block.lost
        if not right:
            return sys.maxsize  # all its tokens are on the CPU already
        growing = (rt.seq.decoding and self._tail(rt, granted) == block.rt_index) + (
            be.seq.decoding and self._tail(be, granted) == block.be_index
        )
        return (self._size - left - right) // growing

    def _after(self, holding: Holding, granted: int) -> int:
        seq = holding.seq
        return seq.num_computed + granted if seq.decoding else self.room(holding)

    def _tail(self, holding: Holding, granted: int) -> int:
        return self._after(holding, granted) // self._size

    def _attach(self, holding: Holding, index: int, block: SharedBlock) -> None:
        if not holding.shared:
            self._journal.put(self._mixed, holding.seq.id, holding)
        self._journal.put(holding.shared, index, block)

    def _detach(self, holding: Holding, index: int) -> None:
        self._journal.pop(holding.shared, index)
        if not holding.shared:
            self._journal.pop(self._mixed, holding.seq.id)

    def _load(self, block: SharedBlock) -> None:
        if block.lost:
            self._cpu.load(block.be.seq, block.lost)
            self._set_lost(block, 0)

    def _set_lost(self, block: SharedBlock, lost: int) -> None:
        newly = (lost > 0) - (block.lost > 0)
        if newly:
            self._journal.set(block.be, "damaged", block.be.damaged + newly)
        self._journal.set(block, "lost", lost)
