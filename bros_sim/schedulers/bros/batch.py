"""A BROS batch as it grows: its cost, the deadline that binds it, and who stays out."""

import math
from collections import abc
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from bros_sim.core.request import ServiceClass
from bros_sim.engine.latency_model import StepShape
from bros_sim.engine.reasons import BATCH_CAP, DEADLINE, MEMORY, Note
from bros_sim.engine.scheduler import ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.bros.queues import RT, BrosQueues


class Work(NamedTuple):
    """What one request adds to an iteration."""

    tokens: int
    context: int
    to_gpu: int = 0
    to_cpu: int = 0

    @property
    def is_decode(self) -> bool:
        """Whether the request lacks nothing but the KV of its last token."""
        return self.tokens == 1 and self.context > 0


class NextBatch:
    """Members so far, the predicted iteration time, and the tightest deadline (BROS Eq. 6)."""

    def __init__(self, view: ReplicaView, cap: int) -> None:
        self.view = view
        self.kv = view.kv
        self.estimate = view.estimate
        self.cap = cap
        self.bound_s = math.inf
        self.put_off_s = math.inf  # tightest deadline of RT put off, though they can be in time
        self.put_off: SequenceView | None = None  # whose that is; BE shall keep it
        self.whole = False  # whether the running batch is in as a whole, and not in ``selected``
        self.memory_short = False  # whether memory kept out someone who was in time
        self.rt_capped = False  # whether the cap alone kept an RT out
        self.bound_hit = False  # whether a deadline kept out someone for whom the cap starts over
        self.left_out = False  # whether anyone who could compute does not
        self.unserved: list[SequenceView] = []  # BE that the cap alone kept out
        self.size = 0
        self.selected: dict[int, SequenceView] = {}
        self.chunks: list[tuple[SequenceView, int]] = []
        self.admitted: list[tuple[SequenceView, int]] = []
        self.evicted: list[SequenceView] = []
        self._prefill: tuple[tuple[int, int], ...] = ()
        self.decodes = 0
        self.kv_tokens = 0
        self._to_gpu = 0
        self._to_cpu = 0

    @property
    def full(self) -> bool:
        """Whether there is no place left."""
        return self.size >= self.cap

    def holds_kv(self, seq: SequenceView) -> bool:
        """Whether the request runs, its KV on the GPU or swapped out."""
        return seq.decoding or seq.id in self.view.batch.outside

    @property
    def be_bound_s(self) -> float:
        """The longest iteration that BE may make."""
        return min(self.bound_s, self.put_off_s)

    def work(self, seq: SequenceView, to_cpu: int = 0) -> Work:
        """What it would add; ask before its KV is reserved, which restores what it lost."""
        context = seq.num_computed
        restore = self.kv.blocks_to_restore(seq) * self.kv.block_size
        return Work(seq.num_tokens - context, context, restore, to_cpu)

    def seconds_with(self, work: Work) -> float:
        """Predicted iteration time if that work joined, lost KV restored meanwhile."""
        tokens, context, to_gpu, to_cpu = work
        copies = self._to_gpu + to_gpu, self._to_cpu + to_cpu
        if work.is_decode:
            shape = StepShape(self._prefill, self.decodes + 1, self.kv_tokens + context + 1)
        else:
            prefill = (*self._prefill, (tokens, context))
            shape = StepShape(prefill, self.decodes, self.kv_tokens)
        return self.estimate.step_s(shape, *copies)

    def in_time(self, work: Work, bound: float) -> bool:
        """Whether the iteration with it keeps the bound; the first one in always is in time."""
        return not self.size or self.seconds_with(work) <= bound

    def seconds_with_decodes(self, seqs: int, kv_tokens: int) -> float:
        """Predicted iteration time with ``seqs`` more decodes that have all their KV."""
        shape = StepShape(self._prefill, self.decodes + seqs, self.kv_tokens + kv_tokens)
        return self.estimate.step_s(shape, self._to_gpu, self._to_cpu)

    def alone_s(self, work: Work) -> float:
        """Predicted iteration time of the work by itself: below it no deadline can be met."""
        if work.is_decode:
            return self.estimate.step_s(StepShape((), 1, work.context + 1))
        return self.estimate.step_s(StepShape(((work.tokens, work.context),), 0, 0))

    def add(self, seq: SequenceView, work: Work) -> None:
        """The request is in; one outside the cohort computes all that it lacks."""
        self._to_gpu += work.to_gpu
        self._to_cpu += work.to_cpu
        self.selected[seq.id] = seq
        if not seq.decoding:
            self.chunks.append((seq, work.tokens))
        if work.is_decode:
            self.add_decodes(1, work.context + 1)
        else:
            self._prefill += ((work.tokens, work.context),)
            self.size += 1

    def add_all(self, seqs: abc.Sequence[SequenceView]) -> None:
        """These decodes are in."""
        selected, chunks, kv_tokens = self.selected, self.chunks, len(seqs)
        for seq in seqs:
            selected[seq.id] = seq
            kv_tokens += seq.num_computed
            if not seq.decoding:
                chunks.append((seq, 1))
        self.add_decodes(len(seqs), kv_tokens)

    def take_members(self, service_class: ServiceClass, residual: float) -> bool:
        """The running batch's RT or BE are in, all of them, unless cap or time keep one out."""
        seqs = self.view.decodes_by_class[service_class.priority]
        if not seqs:
            return True
        kv_tokens = self.view.decode_kv_by_class[service_class.priority]
        bound = min(self.bound_s, residual)
        if self.size + seqs > self.cap or self.seconds_with_decodes(seqs, kv_tokens) > bound:
            return False
        self.add_decodes(seqs, kv_tokens)
        self.bound_s = bound
        return True

    def add_decodes(self, seqs: int, kv_tokens: int) -> None:
        """That many decodes are in; who they are is known otherwise."""
        self.decodes += seqs
        self.kv_tokens += kv_tokens
        self.size += seqs


class BrosNotes:
    """Why a pass leaves requests out, the last note of each; filled only when the replica asks."""

    def __init__(self, batch: NextBatch, queues: BrosQueues, asked: bool) -> None:
        self.batch = batch
        self.queues = queues
        self.asked = asked
        self.by_seq: dict[int, Note] = {}

    def cap(self, *seqs: SequenceView) -> None:
        """The batch is full."""
        if self.asked:
            self.by_seq |= {seq.id: Note(seq, BATCH_CAP, limit=self.batch.cap) for seq in seqs}

    def memory(self, seq: SequenceView, spare: int = 0) -> None:
        """It needs more blocks than are free or can be had."""
        if self.asked:
            kv = self.batch.kv
            held = -(-seq.num_computed // kv.block_size) - kv.blocks_to_restore(seq)
            lacks = -(-seq.num_tokens // kv.block_size) - held + spare
            self.by_seq[seq.id] = Note(seq, MEMORY, None, lacks, kv.free_blocks)

    def deadline(self, seq: SequenceView, work: Work, bound_s: float) -> None:
        """With it the iteration would end after the tightest deadline."""
        if self.asked:
            batch, seconds = self.batch, self.batch.seconds_with(work)
            put_off = bound_s == batch.put_off_s
            due = batch.put_off if put_off else self._due_in(bound_s, seq)
            self.by_seq[seq.id] = Note(seq, DEADLINE, due, seconds, bound_s)

    def gave_way(self, reason: str, seqs: Iterable[SequenceView], taker: SequenceView) -> None:
        """They made room for another request."""
        if self.asked:
            self.by_seq |= {seq.id: Note(seq, reason, taker) for seq in seqs}

    def all(self, paused: Iterable[SequenceView]) -> tuple[Note, ...]:
        """All notes; who was not even looked at stood behind a full batch."""
        selected = self.batch.selected
        unseen = [*paused, *(self._first_in_line() if self.batch.full else ())]
        self.cap(*(seq for seq in unseen if seq.id not in self.by_seq))
        return tuple(note for seq_id, note in self.by_seq.items() if seq_id not in selected)

    def _first_in_line(self) -> Iterator[SequenceView]:
        """The first RT and the first BE that go on waiting."""
        selected = self.batch.selected
        for line in (self.queues.rt_waiting, self.queues.be_waiting):
            yield from islice((entry[-1] for entry in line if entry[-1].id not in selected), 1)

    def _due_in(self, bound_s: float, seq: SequenceView) -> SequenceView | None:
        """Whose deadline that is: of a request in the batch, or the request's own."""
        if math.isinf(bound_s):
            return None
        now, selected = self.batch.view.now, self.batch.selected
        running = (x for x in self.batch.view.batch if x.service_class is RT)
        for member in (*selected.values(), *running, seq):
            known = member.decoding or member.id in selected or member is seq
            due = member.service_class is RT and self.queues.deadline(member) - now == bound_s
            if known and due:
                return member
        return None
