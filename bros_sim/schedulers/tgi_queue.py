"""The queue of TGI's router (backends/v3/src/queue.rs): who joins next, the head or nobody."""

import math
import sys
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from bros_sim.engine.kv_cache import KVManager
from bros_sim.engine.reasons import BUDGET, MEMORY, SEATS, TOO_FEW, Note
from bros_sim.engine.sequence import SequenceView

UNLIMITED = sys.maxsize
"""A batch of any size."""


class NextBatch(NamedTuple):
    """Requests that leave the queue, and why the head of those that stay does so."""

    taken: tuple[tuple[SequenceView, int], ...] = ()
    """The requests and the prompt tokens that each computes first: all, but for the last one's."""
    barred: Note | None = None
    """None when nobody stays."""


class TgiQueue:
    """First come, first served. ``chunking``: a prompt over the budget is cut, not put back."""

    def __init__(self, *, chunking: bool) -> None:
        self._chunking = chunking
        self._seqs: deque[SequenceView] = deque()

    def __len__(self) -> int:
        return len(self._seqs)

    def __iter__(self) -> Iterator[SequenceView]:
        return iter(self._seqs)

    def append(self, seq: SequenceView) -> None:
        """A request arrived."""
        self._seqs.append(seq)

    def barred(self, reason: str, value: float = math.nan, limit: float = math.nan) -> Note | None:
        """What keeps the head, if there is one."""
        return Note(self._seqs[0], reason, None, value, limit) if self._seqs else None

    def next_batch(
        self, kv: KVManager, *, budget: int, min_size: int = 0, max_size: int = UNLIMITED
    ) -> NextBatch:
        """TGI's ``next_batch``: at least ``min_size`` requests, or none.

        ``budget`` is of prompt tokens and is rounded up to whole blocks. Blocks are taken in the
        draft of ``kv``. TGI's ``token_budget`` is not asked for: there it matters only when it is
        0, and the block that is never used prevents that.
        """
        if budget == 0:
            return NextBatch((), self._over_budget(0))
        if len(self._seqs) < min_size:
            return NextBatch((), self.barred(TOO_FEW, len(self._seqs), min_size))
        if max_size == 0:
            return NextBatch((), self.barred(SEATS, 0, 0))
        mark = kv.mark()
        padded = -(-budget // kv.block_size) * kv.block_size
        taken, barred = self._take(kv, padded, max_size)
        if taken and len(taken) < min_size:
            kv.rollback(mark)
            self._seqs.extendleft(seq for seq, _ in reversed(taken))
            return NextBatch((), self.barred(TOO_FEW, len(taken), min_size))
        return NextBatch(tuple(taken), barred)

    def _take(
        self, kv: KVManager, budget: int, max_size: int
    ) -> tuple[list[tuple[SequenceView, int]], Note | None]:
        taken: list[tuple[SequenceView, int]] = []
        while self._seqs:
            seq, mark = self._seqs[0], kv.mark()
            prompt = seq.num_tokens
            if not kv.admit(seq, prompt, (), must_fit=prompt, spare=0):
                needed = -(-(seq.prompt_tokens + seq.max_tokens - 1) // kv.block_size)
                return taken, self.barred(MEMORY, needed, kv.free_blocks)
            if prompt > budget and not (self._chunking and budget):
                kv.rollback(mark)
                return taken, self._over_budget(budget)
            taken.append((self._seqs.popleft(), min(prompt, budget)))
            if prompt > budget:
                return taken, self._over_budget(0)
            budget -= prompt
            if len(taken) == max_size:
                return taken, self.barred(SEATS, max_size, max_size)
        return taken, None

    def _over_budget(self, left: int) -> Note | None:
        return self.barred(BUDGET, self._seqs[0].num_tokens, left) if self._seqs else None
