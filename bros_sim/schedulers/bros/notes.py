"""Why a BROS pass leaves requests out; filled only when the replica asks for it."""

import math
from collections.abc import Iterable, Iterator
from itertools import islice

from bros_sim.engine.reasons import BATCH_CAP, DEADLINE, MEMORY, Note
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.bros.batch import NextBatch, Work
from bros_sim.schedulers.bros.queues import RT, BrosQueues


class BrosNotes:
    """The notes of one pass, at most one for each request: the last counts."""

    def __init__(self, batch: NextBatch, queues: BrosQueues, asked: bool) -> None:
        self.batch = batch
        self.queues = queues
        self.asked = asked
        self.by_seq: dict[int, Note] = {}

    def cap(self, *seqs: SequenceView) -> None:
        """The batch is full."""
        if self.asked:
            for seq in seqs:
                self._put(Note(seq, BATCH_CAP, limit=self.batch.cap))

    def memory(self, seq: SequenceView, spare: int = 0) -> None:
        """It needs more blocks than are free or can be had."""
        if self.asked:
            kv = self.batch.kv
            held = -(-seq.num_computed // kv.block_size) - kv.blocks_to_restore(seq)
            lacks = -(-seq.num_tokens // kv.block_size) - held + spare
            self._put(Note(seq, MEMORY, None, lacks, kv.free_blocks))

    def deadline(self, seq: SequenceView, work: Work, bound_s: float) -> None:
        """With it the iteration would end after the tightest deadline."""
        if self.asked:
            batch, seconds = self.batch, self.batch.seconds_with(work)
            put_off = bound_s == batch.put_off_s
            due = batch.put_off if put_off else self._due_in(bound_s, seq)
            self._put(Note(seq, DEADLINE, due, seconds, bound_s))

    def gave_way(self, reason: str, seqs: Iterable[SequenceView], taker: SequenceView) -> None:
        """They made room for another request."""
        if self.asked:
            for seq in seqs:
                self._put(Note(seq, reason, taker))

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

    def _put(self, note: Note) -> None:
        self.by_seq[note.seq.id] = note

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
