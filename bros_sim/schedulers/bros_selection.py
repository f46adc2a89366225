"""Who is in the next BROS batch: Algorithm 1, as one plan runs through it."""

import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bros_sim.job import JobView
from bros_sim.schedulers.bros_batch import Batch, Work
from bros_sim.schedulers.bros_memory import BrosMemory
from bros_sim.schedulers.bros_notes import BrosNotes
from bros_sim.schedulers.bros_queues import RT, BrosQueues, RtEntry


class Rules(NamedTuple):
    """Readings of Algorithm 1, each a parameter of `BrosScheduler`."""

    demote: bool
    """RT that cannot be in time come after all that can."""
    be_keeps_all_rt: bool
    """BE keep the deadlines of RT that were put off, too."""
    be_resets_cap: bool
    """A BE that does not fit starts the cap over, not an RT alone."""
    rt_first: bool
    """No RT gives its place to a BE while the cap keeps another RT out."""


@dataclass(slots=True)
class Selection:
    """One pass over the queues. A pass that fails changes nothing but ``batch`` and the draft.

    ``everybody`` is the common case, in which every cohort member goes on: it treats the cohort as
    two groups and does not look at its members. ``one_by_one`` is the algorithm job by job.
    """

    queues: BrosQueues
    batch: Batch
    memory: BrosMemory
    notes: BrosNotes
    rules: Rules
    replaced: Mapping[int, JobView] = field(default_factory=dict)
    """RT that give their place up (by id), and the BE in whose favour."""
    others: Container[int] | None = None
    """Once RT are replaced, the RT (by id) that were in the batch: nobody else joins instead."""
    unserved: list[JobView] = field(default_factory=list)
    """BE that the cap alone kept out."""
    whole: bool = False
    """Whether the whole cohort goes on, its members not looked at one by one."""
    memory_short: bool = False
    """Whether someone was kept out by memory: more of it may come free only by an event."""
    left_out: bool = False
    """Whether anyone who could compute does not."""
    rt_capped: bool = False
    """Whether the cap alone kept an RT out."""
    bound_hit: bool = False
    """Whether a deadline kept someone out on whose account the cap starts over."""
    # -- the common case ------------------------------------------------------------------------

    def everybody(self) -> bool:
        """All of the cohort, and of the others whom the deadlines allow; False if not all."""
        batch = self.batch
        (rt, be), (_, be_kv) = batch.view.decodes_by_class, batch.view.decode_kv_by_class
        if rt + be > batch.cap or not batch.kv.extend_decodes():
            return False
        due = self.queues.common_deadline(batch.view.now) if rt else math.inf
        if due is None:
            return False
        lenders = self.queues.lenders(batch.kv, pending_only=True)
        waiting = self.queues.rt_entries(batch.cap)
        if not self._take_cohort_among(waiting, due, lenders):
            return False
        if self.memory_short or (be and not self._add_group(be, be_kv, batch.put_off_s)):
            return False
        self._offer_be(self.queues.be_order(batch.kv, pending_only=True))
        self.whole = True
        return True

    def _take_cohort_among(
        self, others: Iterable[RtEntry], due: float, lenders: Sequence[JobView]
    ) -> bool:
        """RT in order of deadline; the cohort's members, all due at ``due``, as one group."""
        view = self.batch.view
        rt, kv_tokens, now = view.decodes_by_class[0], view.decode_kv_by_class[0], view.now
        taken = not rt
        for deadline, _, job in self._in_order(others):
            if not taken and deadline >= due:
                taken = True
                if not self._add_group(rt, kv_tokens, due - now):
                    return False
            self._offer_rt(job, deadline - now, lenders, last_resort=False)
        return taken or self._add_group(rt, kv_tokens, due - now)

    def _add_group(self, jobs: int, kv_tokens: int, residual: float) -> bool:
        batch = self.batch
        bound = min(batch.bound_s, residual)
        if batch.size + jobs > batch.cap or batch.seconds_with_decodes(jobs, kv_tokens) > bound:
            return False
        batch.add_decodes(jobs, kv_tokens)
        batch.bound_s = bound
        return True

    # -- job by job -----------------------------------------------------------------------------

    def one_by_one(self) -> None:
        """Algorithm 1: RT by residual time, then BE by what must be restored."""
        queues, batch = self.queues, self.batch
        order = queues.be_order(batch.kv, pending_only=False)
        lenders = order[::-1]
        run: list[RtEntry] = []
        for entry in self._in_order(queues.all_rt_entries(batch.cap, batch.view.now)):
            if batch.size + len(run) >= batch.cap:
                self._offer_run(run, lenders)
                run = []  # those that did not fit leave their places to others
            if batch.size >= batch.cap:
                self._keep_out(entry[2])
                break
            if entry[2].id in self.replaced:
                self.notes.replaced(entry[2], self.replaced[entry[2].id])
                continue
            if entry[2].id in self.memory.gone:
                continue
            if self.others is not None and entry[2].id not in self.others:
                continue
            if entry[2].decoding or batch.work(entry[2]).is_decode:
                run.append(entry)
                continue
            self._offer_run(run, lenders)
            run = []
            self._offer_rt(entry[2], entry[0] - batch.view.now, lenders)
        self._offer_run(run, lenders)
        self._offer_be(order)

    def _in_order(self, entries: Iterable[RtEntry]) -> Iterator[RtEntry]:
        """By residual time; with ``demote``, who cannot be in time comes after all who can."""
        if not self.rules.demote:
            yield from entries
            return
        late: list[RtEntry] = []
        for entry in entries:
            alone_s = self.batch.alone_s(self.batch.work(entry[2]))
            if entry[0] - self.batch.view.now < alone_s:
                late.append(entry)
            else:
                yield entry
        yield from late

    def _offer_run(self, run: Sequence[RtEntry], lenders: Sequence[JobView]) -> None:
        """Decodes in a row: judged together where that gives what one by one would give.

        The first is the most urgent, and the predicted time only grows: if all of them fit within
        its deadline, each would have been taken on its own.
        """
        if not run:
            return
        batch, now = self.batch, self.batch.view.now
        bound = min(batch.bound_s, run[0][0] - now)
        kv_tokens = sum(job.num_computed for _, _, job in run) + len(run)
        together = batch.seconds_with_decodes(len(run), kv_tokens) <= bound
        for deadline, _, job in run:
            if job.id in self.memory.gone:
                continue
            whole = job.decoding or not batch.kv.blocks_to_restore(job)
            if together and whole and self.memory.reserve(job, lenders):
                batch.add_decode(job)
                batch.bound_s = bound
            else:
                self._offer_rt(job, deadline - now, lenders)

    def _offer_rt(
        self,
        job: JobView,
        residual: float,
        lenders: Sequence[JobView],
        *,
        last_resort: bool = True,
    ) -> None:
        """Take the job if the tightest deadline allows; one that cannot be in time binds none."""
        batch = self.batch
        if job.id in self.memory.gone:
            self.left_out = True
            return
        if batch.size >= batch.cap:
            self._keep_out(job)
            return
        work = batch.work(job, self._borrowed_tokens(job))
        savable = residual >= batch.alone_s(work)
        bound = min(batch.bound_s, residual) if savable else batch.bound_s
        if batch.size and (seconds := batch.seconds_with(work)) > bound:
            self.bound_hit = self.left_out = True
            if savable and self.rules.be_keeps_all_rt:
                batch.keep_in_mind(job, residual)
            self.notes.deadline(job, seconds, bound)
        elif self.memory.reserve(job, lenders) or (
            last_resort and self.memory.fall_back(job, lenders)
        ):
            batch.add(job, work)
            batch.bound_s = bound
        else:
            self.memory_short = self.left_out = True
            self.notes.memory(job)

    def _keep_out(self, job: JobView) -> None:
        """The batch is full before an RT."""
        self.left_out = self.rt_capped = True
        self.notes.cap(job)

    def _borrowed_tokens(self, job: JobView) -> int:
        """Best-effort tokens that the job would overwrite, at most: full blocks beyond the free."""
        if job.num_computed:
            return 0
        size = self.batch.kv.block_size
        return size * max(0, -(-job.num_tokens // size) - self.batch.kv.free_blocks)

    # -- best effort ----------------------------------------------------------------------------

    def _offer_be(self, held: Sequence[JobView]) -> None:
        """BE with KV in their order, then waiting ones by arrival, into what is left."""
        batch = self.batch
        for rank, job in enumerate(held):
            if job.id in self.memory.gone:
                continue
            work = batch.work(job)
            if self._has_room(job) and self._in_time(job, work):
                later = held[:rank:-1]  # liveness (inferred): the BE ranked last gives way
                if self.memory.reserve(job, ()) or self.memory.displace(job, later):
                    batch.add(job, work)
                else:
                    self.memory_short = self.left_out = True
                    self.notes.memory(job)
        # Memory is asked before time: when it is short, nearly all that wait fail here, each time.
        room = self.memory.tokens_to_spare()
        for _, job in self.queues.be_waiting[: batch.cap]:
            if not self._has_room(job):
                break
            if job.num_tokens > room:
                self.left_out = True
                self.notes.memory(job, self.memory.spare)
                continue
            work = batch.work(job)
            if not self._in_time(job, work):
                continue
            if self.memory.reserve(job, ()):
                batch.add(job, work)
                room = self.memory.tokens_to_spare()
            else:
                self.notes.memory(job, self.memory.spare)

    def _has_room(self, job: JobView) -> bool:
        if self.batch.size < self.batch.cap:
            return True
        self.left_out = True
        self.unserved.append(job)
        self.notes.cap(job)
        return False

    def _in_time(self, job: JobView, work: Work) -> bool:
        batch = self.batch
        if not batch.size or (seconds := batch.seconds_with(work)) <= batch.be_bound_s:
            return True
        self.left_out = True
        self.bound_hit |= self.rules.be_resets_cap
        self.notes.deadline(job, seconds, batch.be_bound_s)
        return False

    # -- the batch is full ----------------------------------------------------------------------

    def replaceable(self, tau_s: float) -> list[tuple[JobView, JobView]]:
        """RT in the batch whose slack lets a BE go in their place (Alg. 1, batch full): the pairs.

        The RT with the largest slack first, as long as it would still be in time one iteration
        later. Only time is judged here; memory is when the batch is put together again.
        """
        batch, now = self.batch, self.batch.view.now
        chosen: list[tuple[JobView, JobView]] = []
        by_slack: list[JobView] = []  # not made before a BE asks for it
        if self.rules.rt_first and self.rt_capped:
            return chosen
        for place, job in enumerate(self.unserved):
            seconds = batch.seconds_with(batch.work(job))
            if seconds > batch.be_bound_s:
                break
            by_slack = by_slack or sorted(self._rt(), key=self.queues.deadline, reverse=True)
            if place == len(by_slack):
                break
            rt = by_slack[place]
            if self.queues.deadline(rt) - now - seconds < tau_s:
                break
            chosen.append((rt, job))
        return chosen

    def replace(
        self, before: "Selection", swaps: Sequence[tuple[JobView, JobView]], tau_s: float
    ) -> None:
        """Choose as before, but without the RT of ``swaps``, and so that they stay in time."""
        now = self.batch.view.now
        self.replaced = {rt.id: be for rt, be in swaps}
        self.others = {job.id for job in before._rt()}
        self.batch.bound_s = min(self.queues.deadline(rt) for rt, _ in swaps) - now - tau_s
        self.bound_hit, self.left_out = before.bound_hit, True
        self.notes.by_job.update(before.notes.by_job)
        self.one_by_one()

    def _rt(self) -> list[JobView]:
        """RT in the batch."""
        batch, running = self.batch, self.queues.running[RT].values()
        selected = [job for job in batch.selected.values() if job.service_class is RT]
        members = [job for job in running if job.decoding] if self.whole else []
        return [*members, *selected]
