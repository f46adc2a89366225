"""Where a request's tokens go: free blocks, gaps, and best-effort blocks to be overwritten."""

from itertools import islice
from typing import NamedTuple

from bros_sim.engine.sequence import Seqs
from bros_sim.kv.cpu_store import CpuStore
from bros_sim.kv.sharing import Holding, PreemptionTable, SharedBlock


class _Loan(NamedTuple):
    """A best-effort request's block that is to become a real-time request's block ``rt_index``."""

    be: Holding
    be_index: int
    rt_index: int
    overlap: int
    """Best-effort tokens in the slots that will be written."""


class RoomFinder:
    """Makes room for a request, or changes nothing; answers how many free blocks that takes.

    ``empty`` blocks may be taken; ``extra`` more blocks must be there but stay untouched.
    """

    def __init__(
        self, holdings: dict[int, Holding], table: PreemptionTable, cpu: CpuStore, block_size: int
    ) -> None:
        self._holdings = holdings
        self._table = table
        self._cpu = cpu
        self._size = block_size

    def best_effort(self, be: Holding, tokens: int, empty: int, extra: int) -> int | None:
        """Free blocks alone, for growth and for what cannot be restored in place."""
        in_place, elsewhere = self._table.to_restore(be, tokens)
        need = self._growth(be, tokens) + len(elsewhere)
        if need + extra > empty:
            return None
        for block in in_place:
            self._table.restore(block)
        for block in elsewhere:
            self._table.relocate(block)
        return need

    def real_time(
        self, rt: Holding, tokens: int, empty: int, extra: int, lenders: Seqs
    ) -> int | None:
        """Free blocks first, then loans; what lies in the slots to be written is checkpointed."""
        tail = rt.shared.get(self._table.room(rt) // self._size)
        overlap, moves = self._collision(tail, tokens, lenders)
        growth = self._growth(rt, tokens)
        loans = self._loans(tokens, growth, growth + extra, empty - moves, lenders)
        if loans is None or overlap + sum(loan.overlap for loan in loans) > self._cpu.free:
            return None
        if tail and moves:
            self._table.relocate(tail)
        elif tail:
            self._table.overwrite(tail, overlap)
        for loan in loans:
            block = self._table.lend(loan.be, loan.be_index, rt, loan.rt_index)
            self._table.overwrite(block, loan.overlap)
        return growth - len(loans) + moves

    def _collision(self, tail: SharedBlock | None, tokens: int, lenders: Seqs) -> tuple[int, int]:
        """In an RT request's own tail: tokens to overwrite, or 1 when the other side moves."""
        if tail is None:
            return 0, 0
        be, fill = tail.be, self._table.fill(tokens, tail.rt_index)
        overlap = self._table.overlap(be, tail.be_index, fill)
        if self._table.in_batch(be) or (be.seq.decoding and be.seq not in lenders):
            return 0, int(overlap > 0)
        return overlap, 0

    def _loans(
        self, tokens: int, growth: int, wanted: int, empty: int, lenders: Seqs
    ) -> list[_Loan] | None:
        """The last of ``growth`` blocks that must be borrowed; None unless ``wanted`` are there."""
        short = max(0, wanted - empty)
        offers = list(islice(self._table.lendable(lenders, self._holdings), short))
        if empty < 0 or len(offers) < short:
            return None
        borrowed = max(0, growth - empty)
        first, fill = self._blocks(tokens) - borrowed, self._table.fill
        return [
            _Loan(be, index, n, self._table.overlap(be, index, fill(tokens, n)))
            for n, (be, index) in enumerate(offers[:borrowed], first)
        ]

    def _growth(self, holding: Holding, tokens: int) -> int:
        return self._blocks(tokens) - self._blocks(self._table.room(holding))

    def _blocks(self, tokens: int) -> int:
        return -(-tokens // self._size)
