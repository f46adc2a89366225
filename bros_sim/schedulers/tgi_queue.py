"""The queue of TGI's router (backends/v3/src/queue.rs): who joins next, the head or nobody."""

import math
import sys
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from bros_sim.engine.kv_cache import KVManager
from bros_sim.engine.reasons import BUDGET, MEMORY, SEATS, TOO_FEW, Note
from bros_sim.engine.sequence import JobView

UNLIMITED = sys.maxsize
"""A batch of any size."""


class NextBatch(NamedTuple):
    """Jobs that leave the queue, and why the head of those that stay does so."""

    taken: tuple[tuple[JobView, int], ...] = ()
    """The jobs and the prompt tokens that each computes first: all, but for the last one's."""
    barred: Note | None = None
    """None when nobody stays."""


class TgiQueue:
    """First come, first served. ``chunking``: a prompt over the budget is cut, not put back."""

    def __init__(self, *, chunking: bool) -> None:
        self._chunking = chunking
        self._jobs: deque[JobView] = deque()

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[JobView]:
        return iter(self._jobs)

    def append(self, job: JobView) -> None:
        """A request arrived."""
        self._jobs.append(job)

    def barred(self, reason: str, value: float = math.nan, limit: float = math.nan) -> Note | None:
        """What keeps the head, if there is one."""
        return Note(self._jobs[0], reason, None, value, limit) if self._jobs else None

    def next_batch(
        self, kv: KVManager, *, budget: int, min_size: int = 0, max_size: int = UNLIMITED
    ) -> NextBatch:
        """TGI's ``next_batch``: at least ``min_size`` jobs, or none.

        ``budget`` is of prompt tokens and is rounded up to whole blocks. Blocks are taken in the
        draft of ``kv``. TGI's ``token_budget`` is not asked for: there it matters only when it is
        0, and the block that is never used prevents that.
        """
        if budget == 0:
            return NextBatch((), self._over_budget(0))
        if len(self._jobs) < min_size:
            return NextBatch((), self.barred(TOO_FEW, len(self._jobs), min_size))
        if max_size == 0:
            return NextBatch((), self.barred(SEATS, 0, 0))
        mark = kv.mark()
        padded = -(-budget // kv.block_size) * kv.block_size
        taken, barred = self._take(kv, padded, max_size)
        if taken and len(taken) < min_size:
            kv.rollback(mark)
            self._jobs.extendleft(job for job, _ in reversed(taken))
            return NextBatch((), self.barred(TOO_FEW, len(taken), min_size))
        return NextBatch(tuple(taken), barred)

    def _take(
        self, kv: KVManager, budget: int, max_size: int
    ) -> tuple[list[tuple[JobView, int]], Note | None]:
        taken: list[tuple[JobView, int]] = []
        while self._jobs:
            job, mark = self._jobs[0], kv.mark()
            prompt = job.prompt_tokens
            if not kv.admit(job, prompt, (), must_fit=prompt, spare=0):
                needed = -(-(prompt + job.max_tokens - 1) // kv.block_size)
                return taken, self.barred(MEMORY, needed, kv.free_blocks)
            if prompt > budget and not (self._chunking and budget):
                kv.rollback(mark)
                return taken, self._over_budget(budget)
            taken.append((self._jobs.popleft(), min(prompt, budget)))
            if prompt > budget:
                return taken, self._over_budget(0)
            budget -= prompt
            if len(taken) == max_size:
                return taken, self.barred(SEATS, max_size, max_size)
        return taken, None

    def _over_budget(self, left: int) -> Note | None:
        return self.barred(BUDGET, self._jobs[0].prompt_tokens, left) if self._jobs else None
