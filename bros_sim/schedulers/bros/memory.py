"""Memory for a BROS batch: whose blocks are reserved, and who gives way when none are left."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter

from bros_sim.engine.sequence import JobView
from bros_sim.schedulers.bros.batch import Batch
from bros_sim.schedulers.bros.notes import BrosNotes
from bros_sim.schedulers.bros.queues import BE, RT, BrosQueues


@dataclass(slots=True)
class BrosMemory:
    """Reservations of one pass over the queues, all of them on the open draft of the KV state.

    ``spare``: blocks that a waiting BE must leave free. ``swap``: a BE that gives way to another
    goes to the CPU if it can. ``any_newest``: RT recompute the newest of any class, not BE.
    """

    queues: BrosQueues
    batch: Batch
    notes: BrosNotes
    spare: int
    swap: bool
    any_newest: bool
    gone: set[int] = field(default_factory=set)
    """Jobs that this plan dropped or swapped out."""
    _by_urgency: list[tuple[tuple[float, int], JobView]] | None = None

    def reserve(self, job: JobView, lenders: Sequence[JobView]) -> bool:
        """Blocks for all of the job's tokens, if need be on loan; False changes nothing."""
        kv, tokens = self.batch.kv, job.num_tokens
        if job.decoding or job.id in self.queues.running[job.service_class]:
            return kv.extend(job, tokens, lenders=lenders)
        if not kv.admit(job, tokens, (), must_fit=tokens, spare=0, lenders=lenders):
            return False
        self.batch.admitted.append((job, 0))
        return True

    def fall_back(self, job: JobView, lenders: Sequence[JobView]) -> bool:
        """Staged fallback: drop BE, then swap out (or drop) the RT with the most slack.

        Only RT with KV on the GPU may push RT out. If those that wait for admission or lie on the
        CPU could, they and the running ones would push each other out in turn, every iteration
        (docs/paper-map.md). They get BE's blocks alone: by loan, or where nobody lends by dropping.
        """
        kv = self.batch.kv
        outside = job.id not in self.queues.running[RT] or kv.blocks_to_restore(job) > 0
        if outside:
            return not kv.can_lend and self._make_way(job, lenders, self._drop)
        if self.any_newest:
            return self._make_way(job, self._newest(job), self._drop)
        return self._make_way(job, chain(lenders, self._less_urgent(job)), self._push_out)

    def displace(self, job: JobView, later: Iterable[JobView]) -> bool:
        """Make room for a BE at the cost of BE ranked after it."""
        return self._make_way(job, later, self._swap_or_drop if self.swap else self._drop)

    def _push_out(self, job: JobView) -> None:
        """BE is dropped, RT swapped out if the CPU has room."""
        if job.service_class is RT:
            self._swap_or_drop(job)
        else:
            self._drop(job)

    def _make_way(
        self, job: JobView, victims: Iterable[JobView], push: Callable[[JobView], None]
    ) -> bool:
        """Push victims out, one by one, until the job fits; if it never does, none of them."""
        mark, gone, evicted = self.batch.kv.mark(), set(self.gone), len(self.batch.evicted)
        pushed = []
        for victim in victims:
            if victim.id in self.batch.selected or victim.id in self.gone:
                continue
            push(victim)
            pushed.append(victim)
            if self.reserve(job, ()):
                self.notes.pushed_out(pushed, job)
                return True
        self.batch.kv.rollback(mark)
        self.gone = gone
        del self.batch.evicted[evicted:]
        return False

    def _newest(self, job: JobView) -> list[JobView]:
        """Running jobs of any class, the newest first: vLLM's choice of victims."""
        running = self.queues.running
        jobs = [x for x in (*running[RT].values(), *running[BE].values()) if x is not job]
        return sorted(jobs, key=lambda x: -x.id)

    def _less_urgent(self, job: JobView) -> Iterator[JobView]:
        """Running RT due after the job, the one with the most slack first."""
        if self._by_urgency is None:  # deadlines stand still while a batch is chosen
            running = self.queues.running[RT].values()
            self._by_urgency = sorted((self._urgency(x), x) for x in running)
        after = bisect_right(self._by_urgency, self._urgency(job), key=itemgetter(0))
        return (x for _, x in reversed(self._by_urgency[after:]))

    def _urgency(self, job: JobView) -> tuple[float, int]:
        return self.queues.deadline(job), job.id

    def _drop(self, job: JobView) -> None:
        self.batch.kv.release(job, resumable=True)
        self.batch.evicted.append(job)
        self.gone.add(job.id)

    def _swap_or_drop(self, job: JobView) -> None:
        if self.batch.kv.swap_out(job):
            self.gone.add(job.id)
        else:
            self._drop(job)

    def tokens_to_spare(self) -> int:
        """The longest waiting BE that memory has room for."""
        kv = self.batch.kv
        return (kv.free_blocks - self.spare) * kv.block_size
