"""Why a BROS pass leaves jobs out; filled only when the replica asks for it."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from bros_sim.engine.reasons import BATCH_CAP, DEADLINE, MEMORY, REPLACED, Note
from bros_sim.engine.sequence import JobView
from bros_sim.schedulers.bros.batch import Batch
from bros_sim.schedulers.bros.queues import RT, BrosQueues


@dataclass(slots=True)
class BrosNotes:
    """The notes of one pass, at most one for each job: the last counts."""

    batch: Batch
    queues: BrosQueues
    asked: bool
    by_job: dict[int, Note] = field(default_factory=dict)

    def cap(self, job: JobView) -> None:
        """The batch is full."""
        if self.asked:
            self._put(Note(job, BATCH_CAP, limit=self.batch.cap))

    def memory(self, job: JobView, spare: int = 0) -> None:
        """It needs more blocks than are free or can be had."""
        if self.asked:
            kv = self.batch.kv
            held = -(-job.num_computed // kv.block_size) - kv.blocks_to_restore(job)
            lacks = -(-job.num_tokens // kv.block_size) - held + spare
            self._put(Note(job, MEMORY, None, lacks, kv.free_blocks))

    def deadline(self, job: JobView, seconds: float, bound_s: float) -> None:
        """With it the iteration would end after the tightest deadline."""
        if self.asked:
            batch = self.batch
            put_off = bound_s == batch.put_off_s
            due = batch.put_off if put_off else self._due_in(bound_s, job)
            self._put(Note(job, DEADLINE, due, seconds, bound_s))

    def pushed_out(self, victims: Iterable[JobView], taker: JobView) -> None:
        """They made room for another job."""
        if self.asked:
            for victim in victims:
                self._put(Note(victim, MEMORY, taker))

    def replaced(self, job: JobView, best_effort: JobView) -> None:
        """It can wait, and a best-effort job goes in its place."""
        if self.asked:
            self._put(Note(job, REPLACED, best_effort))

    def all(self, paused: Iterable[JobView]) -> tuple[Note, ...]:
        """All notes; who was not even looked at stood behind a full batch."""
        selected = self.batch.selected
        unseen = list(paused)
        if self.batch.size >= self.batch.cap:
            unseen += self._first_in_line()
        for job in unseen:
            if job.id not in self.by_job:
                self.cap(job)
        return tuple(note for job_id, note in self.by_job.items() if job_id not in selected)

    def _first_in_line(self) -> Iterator[JobView]:
        """The first RT and the first BE that go on waiting."""
        selected = self.batch.selected
        for line in (self.queues.rt_waiting, self.queues.be_waiting):
            yield from islice((entry[-1] for entry in line if entry[-1].id not in selected), 1)

    def _put(self, note: Note) -> None:
        self.by_job[note.job.id] = note

    def _due_in(self, bound_s: float, job: JobView) -> JobView | None:
        """Whose deadline that is: of a job in the batch, or the job's own."""
        if math.isinf(bound_s):
            return None
        now, selected = self.batch.view.now, self.batch.selected
        for member in (*selected.values(), *self.queues.running[RT].values(), job):
            known = member.decoding or member.id in selected or member is job
            if known and self._is_due(member, now, bound_s):
                return member
        return None

    def _is_due(self, job: JobView, now: float, bound_s: float) -> bool:
        return job.service_class is RT and self.queues.deadline(job) - now == bound_s
