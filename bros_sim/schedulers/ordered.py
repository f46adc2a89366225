"""The loop that the rivals share: a rival is an order, a budget, and who gives way.

Continuous batching with chunked prefill and preemption by recompute. An iteration

1. lets every cohort member decode a token, but for those that `pauses` names;
2. goes on with prompts under way, the lowest rank first, within what is left of `budget`;
3. admits waiting jobs, the lowest rank or nobody, while it has budget, a seat, and memory for all
   the tokens that the job has.

Where running jobs lack memory, the one of the highest rank is evicted (recompute), and nobody is
admitted in that iteration. Where the head of the queue lacks a seat or memory, those of the running
that `may_evict` grants it are evicted, the highest rank first, if that lets it start.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from annotated_doc import Doc
from annotated_types import Ge

from bros_sim.job import JobView
from bros_sim.schedulers.base import UNTIL_EVENT, Plan, ReplicaView
from bros_sim.schedulers.notes import AFTER_PREEMPTION, MEMORY, Note
from bros_sim.schedulers.ordered_step import Eviction, Lack, Step
from bros_sim.schedulers.queues import Rank, RankedQueue


@dataclass
class OrderedLoop:
    """The loop and its memory; a policy answers the questions.

    An iteration may be put together several times before it stands, so the questions change
    nothing: what a policy remembers it writes down in `begin` and `settle`.
    """

    cuts_prompts: ClassVar[bool] = True
    """Whether a prompt is cut to what is left of the budget, or waits until all of it fits."""
    caches_prefixes: ClassVar[bool] = True
    """Whether prefixes are looked up in the cache and memory is taken chunk by chunk; else it is
    taken for all known tokens on admission."""
    timeless: ClassVar[bool] = True
    """Whether the answers stay the same until something arrives, finishes or runs short of memory,
    but for those of `may_evict` that turn from yes to no."""
    _waiting: RankedQueue = field(init=False, default_factory=RankedQueue)
    _running: dict[int, JobView] = field(init=False, default_factory=dict)
    _outside: dict[int, JobView] = field(init=False, default_factory=dict)
    """Running jobs outside the cohort: prompts under way, and paused ones."""
    _seats: list[int] = field(init=False, default_factory=lambda: [0, 0])
    """Running jobs by class."""
    _refused: int = field(init=False, default=-1)
    """The head of the queue to which nobody gave way, if nothing has happened since."""

    # -- questions to the policy ----------------------------------------------------------------

    def rank(self, job: JobView, now: float) -> Rank:
        """Who is served first: the lowest rank, ties by arrival.

        Asked for a waiting job when it comes (`runs` is False then, and it has no KV), for a
        running one whenever a victim or the order of the prompts is looked for.
        """
        raise NotImplementedError

    @property
    def token_limit(self) -> int:
        """Most tokens of an iteration."""
        raise NotImplementedError

    def budget(self, view: ReplicaView) -> int:  # noqa: ARG002
        """Tokens of the coming iteration, those of its decodes included."""
        return self.token_limit

    def has_seat(self, job: JobView, step: Step) -> bool:
        """Whether a waiting job may join ``step.running`` others; not asked if nobody runs."""
        raise NotImplementedError

    def spare_blocks(self, job: JobView, step: Step) -> int:  # noqa: ARG002
        """KV blocks to leave free when a job joins others."""
        return 0

    def grant(self, job: JobView, tokens: int, step: Step) -> int:  # noqa: ARG002
        """How many of ``tokens``, which the budget allows, a job outside the cohort computes."""
        return tokens

    def why_not(self, job: JobView, tokens: int, step: Step) -> Note:
        """Why a job got none of the ``tokens`` that it lacks."""
        return step.lacks_budget(job, tokens)

    def pauses(self, view: ReplicaView) -> Sequence[Note]:  # noqa: ARG002
        """Running jobs that keep their KV and compute nothing in this iteration, and why."""
        return ()

    def may_evict(self, victim: JobView, taker: JobView, now: float) -> bool:  # noqa: ARG002
        """Whether a running job is evicted if a waiting one can start instead."""
        return False

    def lasts(self, view: ReplicaView) -> int:  # noqa: ARG002
        """For how many iterations a plan of decodes alone stays the same; see `Plan.repeat`."""
        return UNTIL_EVENT if self.timeless else 1

    def begin(self, view: ReplicaView) -> None:
        """What the policy writes down before a plan."""

    def settle(self, plan: Plan, view: ReplicaView) -> None:
        """What the policy writes down of its plan."""

    # -- for policies ---------------------------------------------------------------------------

    def runs(self, job: JobView) -> bool:
        """Whether the job holds KV."""
        return job.id in self._running

    def rerank(self, now: float) -> None:
        """Ask for the rank of everyone who waits, in O(waiting)."""
        self._waiting.rerank(lambda job: self.rank(job, now))

    # -- the contract of schedulers -------------------------------------------------------------

    @property
    def overhead_share(self) -> float:
        """None beyond what the latency model holds."""
        return 0.0

    def refuses(self, max_model_len: int) -> str | None:
        """A whole prompt has to fit into an iteration if prompts are not cut."""
        if self.cuts_prompts or self.token_limit >= max_model_len:
            return None
        return (
            f"an iteration of {self.token_limit} tokens is below the model length {max_model_len}:"
            " a whole prompt could never run"
        )

    def submit(self, job: JobView) -> bool | None:
        """See `Scheduler.submit`."""
        self._waiting.push(job, self.rank(job, job.arrival_s))
        self._refused = -1
        return None

    def finished(self, job: JobView) -> None:
        """See `Scheduler.finished`."""
        self._leave(job)
        self._refused = -1

    def running_jobs(self) -> Iterable[JobView]:
        """Running jobs in order of admission."""
        return self._running.values()

    def waiting_jobs(self) -> Iterable[JobView]:
        """Waiting jobs in order of rank."""
        return iter(self._waiting)

    def plan(self, view: ReplicaView) -> Plan:
        """An iteration, put together anew after each eviction that it turns out to need."""
        self.begin(view)
        start, evictions = view.kv.mark(), list[Eviction]()
        step = self._attempt(view, evictions)
        while step.lack and (victim := self._victim(step)):
            evictions.append(Eviction(victim, step.lack))
            view.kv.rollback(start)
            step = self._attempt(view, evictions)
        head = step.lack.job if step.lack and step.lack.waits else None
        in_vain = [gone for gone in evictions if head and gone.lack.job is head]
        forced = not step.computes
        if in_vain or forced:
            kept = [gone for gone in evictions if gone not in in_vain]
            view.kv.rollback(start)
            step = self._attempt(view, kept, forced=forced)
        plan = self._decide(step)
        self.settle(plan, view)
        return plan

    # -- an attempt -----------------------------------------------------------------------------

    def _attempt(
        self, view: ReplicaView, evictions: Sequence[Eviction], *, forced: bool = False
    ) -> Step:
        """The iteration without the evicted, up to where a seat or memory is lacking."""
        budget = self.token_limit if forced else self.budget(view)
        idle = () if forced else self.pauses(view)
        step = Step(view, budget, list(self._seats), tuple(evictions), idle, forced)
        for gone in evictions:
            view.kv.release(gone.job, resumable=self.caches_prefixes)
            step.running[gone.job.priority] -= 1
        if self._go_on(step) and self._catch_up(step):
            self._admit(step)
        return step

    def _go_on(self, step: Step) -> bool:
        """The cohort decodes, in O(1) unless some of it is paused; False: memory is lacking."""
        view, without = step.view, step.without() if step.idle else ()
        gone = {gone.job.id for gone in step.evictions}
        step.paused = [n.job for n in step.idle if n.job.decoding and n.job.id not in gone]
        evicted = sum(gone.job.decoding for gone in step.evictions)
        step.decodes = view.num_decodes - evicted - len(step.paused)
        step.budget -= step.decodes
        if step.paused:
            jobs = [x for x in self._running.values() if x.decoding and x.id not in without]
            fits = view.kv.extend_all(jobs) == len(jobs)
        else:
            fits = view.kv.extend_decodes()
        if not fits:
            step.lack = Lack(None, MEMORY, waits=False)
        return fits

    def _catch_up(self, step: Step) -> bool:
        """Prompts under way, and paused jobs that go on; False: memory is lacking."""
        if not self._outside:
            return True
        now, without = step.view.now, step.without()
        jobs = [job for job in self._outside.values() if job.id not in without]
        for job in sorted(jobs, key=lambda job: (self.rank(job, now), job.id)):
            lacking = job.num_tokens - job.num_computed
            tokens = self._granted(job, lacking, step)
            if not tokens:
                step.note(self.why_not(job, lacking, step))
                continue
            room = job.num_computed + tokens if self.caches_prefixes else job.num_tokens
            if not step.view.kv.extend(job, room):
                step.lack = Lack(job, MEMORY, waits=False)
                return False
            step.add(job, tokens)
        return True

    def _admit(self, step: Step) -> None:
        """Waiting jobs in order of rank: the head or nobody."""
        gone = step.took_memory
        for job in self._waiting:
            if gone:
                step.note(Note(job, AFTER_PREEMPTION, gone.job))
                return
            if not self._starts(job, step):
                return

    def _starts(self, job: JobView, step: Step) -> bool:
        """Admit the job, or say what it lacks."""
        kv, alone = step.view.kv, not any(step.running)
        hit = kv.lookup(job) if self.caches_prefixes else ()
        cached = len(hit) * kv.block_size
        tokens = self._granted(job, job.num_tokens - cached, step)
        if not tokens:
            step.note(self.why_not(job, job.num_tokens - cached, step))
            return False
        if not (alone or self.has_seat(job, step)):
            step.lacks_seat(job)
            return False
        room = cached + tokens if self.caches_prefixes else job.num_tokens
        spare = 0 if alone else self.spare_blocks(job, step)
        if not kv.admit(job, room, hit, must_fit=job.num_tokens, spare=spare):
            step.lacks_memory(job, -(-job.num_tokens // kv.block_size) + spare)
            return False
        step.running[job.priority] += 1
        step.admitted.append((job, cached))
        step.add(job, tokens)
        return True

    def _granted(self, job: JobView, wanted: int, step: Step) -> int:
        """Tokens that the budget and the policy allow; all or none if prompts are not cut."""
        tokens = min(wanted, step.budget)
        if tokens > 0 and not step.forced:
            tokens = self.grant(job, tokens, step)
        return tokens if tokens > 0 and (self.cuts_prompts or tokens == wanted) else 0

    def _victim(self, step: Step) -> JobView | None:
        """Who is evicted for what is lacking: of those who may be, the highest rank."""
        lack, now = step.lack, step.view.now
        gone = {gone.job.id for gone in step.evictions}
        jobs = [job for job in self._running.values() if job.id not in gone]
        if lack and lack.waits and lack.job:
            if lack.job.id == self._refused:
                return None
            jobs = [job for job in jobs if self.may_evict(job, lack.job, now)]
        return max(jobs, key=lambda job: (self.rank(job, now), job.id), default=None)

    # -- the decision ---------------------------------------------------------------------------

    def _decide(self, step: Step) -> Plan:
        """Write the queues and the plan."""
        for job, _ in step.admitted:
            self._waiting.pop()
            self._running[job.id] = self._outside[job.id] = job
            self._seats[job.priority] += 1
        evicted = tuple(gone.job for gone in step.evictions)
        for job in evicted:
            self._leave(job)
            self._waiting.push(job, self.rank(job, step.view.now))
        cached = dict(step.admitted)
        for job, tokens in step.chunks:
            if tokens == job.num_tokens - cached.get(job, job.num_computed):
                self._outside.pop(job.id)
        self._outside.update((job.id, job) for job in step.paused)
        happened = bool(step.chunks or evicted or step.paused)
        refused = step.lack.job if step.lack and self.timeless and not happened else None
        self._refused = refused.id if refused else -1
        return Plan(
            tuple(step.chunks),
            tuple(step.admitted),
            evicted,
            tuple(step.paused),
            1 if happened else self.lasts(step.view),
            notes=self._notes(step) if step.view.explain else (),
        )

    def _notes(self, step: Step) -> tuple[Note, ...]:
        gone = {gone.job.id for gone in step.evictions}
        return (
            *(Note(job, lack.reason, lack.job) for job, lack in step.evictions),
            *(note for note in (*step.idle, *step.notes) if note.job.id not in gone),
        )

    def _leave(self, job: JobView) -> None:
        """A job has no KV any more."""
        del self._running[job.id]
        self._outside.pop(job.id, None)
        self._seats[job.priority] -= 1


@dataclass
class OrderedScheduler(OrderedLoop):
    """The loop with the two limits of most engines: tokens of an iteration, and running jobs."""

    max_num_batched_tokens: Annotated[int, Ge(1), Doc("token budget of an iteration")] = 2048
    max_num_seqs: Annotated[int, Ge(1), Doc("most requests that run at a time")] = 256

    @property
    def token_limit(self) -> int:
        """Most tokens of an iteration."""
        return self.max_num_batched_tokens

    def has_seat(self, job: JobView, step: Step) -> bool:  # noqa: ARG002
        """Whether fewer run than may."""
        return sum(step.running) < self.max_num_seqs - step.view.held_seats

    def refuses(self, max_model_len: int) -> str | None:
        """Every running job has to find a token in an iteration."""
        budget = self.max_num_batched_tokens
        if budget < self.max_num_seqs:
            return f"max_num_batched_tokens {budget} is below max_num_seqs {self.max_num_seqs}"
        return super().refuses(max_model_len)
