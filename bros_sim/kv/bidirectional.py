"""BROS's bidirectional KV cache: RT requests move into blocks of pending BE requests.

Reconstructed from digests of the paper (arXiv 2504.09590v1); what they leave open is marked
``inferred`` in docs/paper-map.md.
"""

from collections import abc
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from bros_sim.core.errors import LawBroken
from bros_sim.engine.sequence import Seqs, SequenceView
from bros_sim.kv.base import BaseKV
from bros_sim.kv.crossings import Crossings
from bros_sim.kv.rooms import RoomFinder
from bros_sim.kv.sharing import Holding, PreemptionTable
from bros_sim.kv.sharing_laws import check_sharing

if TYPE_CHECKING:
    from bros_sim.kv.parameters import BidirectionalParameters


class BidirectionalKV(BaseKV):
    """A block holds one RT request's KV from the left and one BE request's from the right.

    Real-time requests take free blocks first, then borrow those of pending best-effort requests and
    overwrite what they need, slot by slot (lazy checkpointing to the CPU). Best-effort requests
    take free blocks alone, and get back what they lost before they run.
    """

    can_lend = True

    def __init__(self, parameters: "BidirectionalParameters") -> None:
        super().__init__(parameters.num_gpu_blocks, parameters.block_size, parameters.cpu_blocks)
        self.free_blocks = self.usable_blocks
        self._holdings: dict[int, Holding] = {}
        self._crossings = Crossings(self.block_size)
        self._table = PreemptionTable(self.block_size, self._journal, self._cpu)
        self._rooms = RoomFinder(self._holdings, self._table, self._cpu, self.block_size)

    def admit(
        self, seq: SequenceView, num_tokens: int, hit: abc.Sequence[object], *,
        must_fit: int, spare: int, lenders: Seqs = (),
    ) -> bool:  # fmt: skip
        """A request on the CPU may be admitted, too, and is brought back."""
        known = self._holdings.get(seq.id)
        holding = known or Holding(seq)
        extra = max(0, self._blocks(must_fit) - self._blocks(num_tokens))
        if not self._reserve(holding, num_tokens, lenders, extra, spare):
            return False
        if known is None:
            self._journal.put(self._holdings, seq.id, holding)
        return True

    def extend(self, seq: SequenceView, num_tokens: int, *, lenders: Seqs = ()) -> bool:
        """False for a cohort member swapped out in this draft, too.

        A best-effort request in the way of a real-time one loses slots if it is a lender or outside
        the cohort; one that is, or may be, in the coming iteration moves to a free block instead.
        """
        holding = self._holdings[seq.id]
        room = self._table.room(holding)
        alone = not (holding.shared or holding.swapped)
        if alone and room % self.block_size and num_tokens == room + 1:
            self._grant(holding, num_tokens)  # the next token has a slot of its own
            return True
        return self._reserve(holding, num_tokens, lenders, 0, 0)

    def extend_all(self, seqs: Seqs) -> int:
        """Ends at the first one that shares a block, too."""
        outside: list[tuple[Holding, int, int]] = []
        ids: set[int] = set()
        need, size, crossing = 0, self.block_size, self._crossings.next
        for seq in seqs:
            number = seq.id
            holding = self._holdings[number]
            if holding.shared or holding.swapped:
                break
            phase = holding.phase
            if (phase == crossing) if phase >= 0 else (holding.tokens % size == 0):
                if need == self.free_blocks:
                    break
                need += 1
            ids.add(number)
            if phase < 0:
                outside.append((holding, holding.tokens, holding.top))
        self._take(need)
        self._grow(outside)
        self._table.extended |= ids
        self._journal.on_undo(partial(self._table.extended.difference_update, ids))
        return len(ids)

    def _grow(self, sizes: abc.Sequence[tuple[Holding, int, int]]) -> None:
        """One more token for holdings outside the cohort, given with their tokens and top."""
        for holding, tokens, _ in sizes:
            holding.tokens = tokens + 1
            holding.top = tokens // self.block_size
        if sizes:
            self._journal.on_undo(partial(_shrink, sizes))

    def _reserve(
        self, holding: Holding, tokens: int, lenders: Seqs, extra: int, spare: int
    ) -> bool:
        """``extra`` blocks must be there as well but are not taken; ``spare`` stay free."""
        if holding.swapped and holding.seq.decoding:
            return False
        tokens = max(tokens, self._table.room(holding))
        empty = self.free_blocks - spare
        if holding.real_time:
            taken = self._rooms.real_time(holding, tokens, empty, extra, lenders)
        else:
            taken = self._rooms.best_effort(holding, tokens, empty, extra)
        if taken is None:
            return False
        self._take(taken)
        self._grant(holding, tokens)
        return True

    def _grant(self, holding: Holding, tokens: int) -> None:
        seq = holding.seq
        if holding.swapped:
            self._cpu.load(seq, holding.tokens, self._blocks(holding.tokens))
            self._journal.set(holding, "swapped", False)
        if not seq.decoding:
            self._journal.set(holding, "tokens", tokens)
            self._journal.set(holding, "top", self._blocks(tokens) - 1)
        self._extend_in_draft(seq)

    def _extend_in_draft(self, seq: SequenceView) -> None:
        """The request is in the coming iteration: nobody may take slots from it now."""
        if seq.id not in self._table.extended:
            self._table.extended.add(seq.id)
            self._journal.on_undo(partial(self._table.extended.discard, seq.id))

    def extend_decodes(self) -> bool:
        """False as well if two requests would meet in a block."""
        need = self._crossings.due()
        if need > self.free_blocks or not self._table.iterations_within_gaps(0):
            return False
        self._take(need)
        self._journal.set(self._table, "cohort_extended", True)
        return True

    def release(self, seq: SequenceView, *, resumable: bool) -> None:
        """Give up what the request has here and on the CPU; a block without owners is free."""
        self._vacate(self._holdings[seq.id])
        self._cpu.forget(seq)
        self._journal.pop(self._holdings, seq.id)

    def swap_out(self, seq: SequenceView) -> bool:
        """False without tokens. What lies there is not copied again."""
        holding = self._holdings[seq.id]
        tokens = seq.num_computed
        to_copy = tokens - self._cpu.tokens(seq)
        if not tokens or to_copy > self._cpu.free:
            return False
        if not holding.swapped:
            self._vacate(holding)
            self._journal.set(holding, "tokens", tokens)
            self._journal.set(holding, "swapped", True)
            self._cpu.save(seq, to_copy, self._blocks(tokens))
        return True

    def _vacate(self, holding: Holding) -> None:
        """Leave the GPU, and the crossings of the cohort."""
        seq = holding.seq
        self._take(self._table.vacate(holding) - self._blocks(self._table.room(holding)))
        if seq.decoding and not holding.swapped:
            self._crossings.remove(seq.num_computed)
            self._journal.on_undo(partial(self._crossings.add, seq.num_computed))
        if seq.id in self._table.extended:
            self._table.extended.discard(seq.id)
            self._journal.on_undo(partial(self._table.extended.add, seq.id))

    def blocks_to_restore(self, seq: SequenceView) -> int:
        """Blocks with overwritten tokens, or all of them on the CPU (the paper's ``M_cpu``)."""
        holding = self._holdings.get(seq.id)
        if holding is None:
            return 0
        return self._blocks(holding.tokens) if holding.swapped else holding.damaged

    def relocated_blocks(self, seq: SequenceView) -> int:
        """Blocks moved within the GPU for a request since it was admitted, which is no `Copy`."""
        return self._holdings[seq.id].relocated

    def join(self, seq: SequenceView) -> None:
        self._holdings[seq.id].phase = self._crossings.add(seq.num_computed)

    def leave(self, seq: SequenceView) -> None:
        """A request that was just swapped out has left already."""
        holding = self._holdings[seq.id]
        if not holding.swapped:
            holding.tokens = tokens = seq.num_computed + self._table.in_batch(holding)
            self._crossings.remove(seq.num_computed)
            holding.top = (tokens - 1) // self.block_size
        holding.phase = -1

    def spare_iterations(self) -> int:
        within_memory = self._crossings.iterations_within(self.free_blocks)
        return min(within_memory, self._table.iterations_within_gaps(1))

    def advance(self, iterations: int) -> None:
        if iterations:
            self._take(self._crossings.advance(iterations))
        self._table.extended.clear()
        self._table.cohort_extended = False

    def check(self, seqs: Iterable[SequenceView]) -> None:
        """Raise `LawBroken` unless blocks and tokens are all where they must be, each once."""
        running = sorted(seq.id for seq in seqs)
        if running != sorted(self._holdings):
            raise LawBroken(f"L4: KV of requests {sorted(self._holdings)}, running {running}")
        held = check_sharing(self._holdings, self._table, self._cpu, self.block_size)
        if self.free_blocks < 0 or self.free_blocks + held != self.usable_blocks:
            raise LawBroken(
                f"L4: {self.free_blocks} free + {held} held != {self.usable_blocks} blocks"
            )

    def _take(self, blocks: int) -> None:
        """Take free blocks; a negative number gives back."""
        if blocks:
            self._journal.set(self, "free_blocks", self.free_blocks - blocks)


def _shrink(sizes: Iterable[tuple[Holding, int, int]]) -> None:
    """Undo `BidirectionalKV._grow`."""
    for holding, tokens, top in sizes:
        holding.tokens, holding.top = tokens, top
