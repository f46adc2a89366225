"""Memory for a BROS batch: whose blocks are reserved, and who gives way when none are left."""

from bisect import bisect_right
from collections import abc
from collections.abc import Iterable, Iterator
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING

from bros_sim.core.request import ServiceClass
from bros_sim.engine.reasons import MEMORY
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.bros.batch import BrosNotes, NextBatch
from bros_sim.schedulers.bros.queues import BE, RT, BrosQueues, RtEntry

if TYPE_CHECKING:
    from bros_sim.schedulers.bros.parameters import BrosParameters


class BrosMemory:
    """Reservations of one pass over the queues, all of them on the open draft of the KV state."""

    def __init__(
        self, queues: BrosQueues, batch: NextBatch, notes: BrosNotes, rules: "BrosParameters"
    ) -> None:
        self.queues = queues
        self.batch = batch
        self.notes = notes
        self.rules = rules
        self.gone: set[int] = set()  # requests that this plan dropped or swapped out
        self._by_urgency: list[RtEntry] | None = None

    @property
    def spare(self) -> int:
        """Blocks that a waiting BE must leave free (`watermark`), if anyone holds KV."""
        held = len(self.batch.view.batch) > 0
        return int(self.rules.watermark * self.batch.kv.num_gpu_blocks) if held else 0

    def reserve(self, seq: SequenceView, lenders: abc.Sequence[SequenceView]) -> bool:
        """Blocks for all of the request's tokens, if need be on loan; False changes nothing."""
        kv, tokens = self.batch.kv, seq.num_tokens
        if self.batch.holds_kv(seq):
            return kv.extend(seq, tokens, lenders=lenders)
        if not kv.admit(seq, tokens, (), must_fit=tokens, spare=0, lenders=lenders):
            return False
        self.batch.admitted.append((seq, 0))
        return True

    def fall_back(self, seq: SequenceView, lenders: abc.Sequence[SequenceView]) -> bool:
        """Staged fallback: drop BE, then swap out (or drop) the RT with the most slack.

        Nobody gives way where the running batch is to go on as a whole. Without loans `victims` may
        be the newest of any class. Only RT with KV on the GPU may push RT out: if those that wait
        or lie on the CPU could, they and the running would push each other out, every iteration
        (docs/paper-map.md). They get BE's blocks alone: by loan, or where nobody lends by dropping.
        """
        kv = self.batch.kv
        if self.batch.whole:
            return False
        if not self.batch.holds_kv(seq) or kv.blocks_to_restore(seq):
            return not kv.can_lend and self._make_way(seq, lenders)
        if self.rules.victims == "any_newest" and not kv.can_lend:
            others = [x for x in self.batch.view.batch if x is not seq]
            newest = sorted(others, key=lambda x: -x.id)  # vLLM's choice of victims
            return self._make_way(seq, newest)
        return self._make_way(seq, chain(lenders, self._less_urgent(seq)), swap=RT)

    def displace(self, seq: SequenceView, later: Iterable[SequenceView]) -> bool:
        """Make room for a BE at the cost of BE ranked after it; `shortage`: how they give way."""
        return self._make_way(seq, later, swap=BE if self.rules.shortage == "swap" else None)

    def _make_way(
        self, seq: SequenceView, victims: Iterable[SequenceView], swap: ServiceClass | None = None
    ) -> bool:
        """Drop victims, or ``swap`` a class out, till the request fits; if it never does, none."""
        kv = self.batch.kv
        mark, gone, evicted = kv.mark(), set(self.gone), len(self.batch.evicted)
        pushed: list[SequenceView] = []
        for victim in victims:
            if victim.id in self.batch.selected or victim.id in self.gone:
                continue
            if victim.service_class is not swap or not kv.swap_out(victim):
                kv.release(victim, resumable=True)
                self.batch.evicted.append(victim)
            self.gone.add(victim.id)
            pushed.append(victim)
            if self.reserve(seq, ()):
                self.notes.gave_way(MEMORY, pushed, seq)
                return True
        kv.rollback(mark)
        self.gone = gone
        del self.batch.evicted[evicted:]
        return False

    def _less_urgent(self, seq: SequenceView) -> Iterator[SequenceView]:
        """Running RT due after the request, the one with the most slack first."""
        if self._by_urgency is None:  # deadlines stand still while a batch is chosen
            running = (x for x in self.batch.view.batch if x.service_class is RT)
            self._by_urgency = sorted((self.queues.deadline(x), x.id, x) for x in running)
        urgency = self.queues.deadline(seq), seq.id
        after = bisect_right(self._by_urgency, urgency, key=itemgetter(0, 1))
        return (x for *_, x in reversed(self._by_urgency[after:]))

    def borrowed_tokens(self, seq: SequenceView) -> int:
        """BE tokens that a waiting RT would overwrite, at most: full blocks beyond the free."""
        if seq.num_computed:
            return 0
        size = self.batch.kv.block_size
        return size * max(0, -(-seq.num_tokens // size) - self.batch.kv.free_blocks)

    def tokens_to_spare(self) -> int:
        """The longest waiting BE that memory has room for."""
        kv = self.batch.kv
        return (kv.free_blocks - self.spare) * kv.block_size
