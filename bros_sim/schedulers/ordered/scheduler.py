"""The loop that the rivals share: a rival is an order, a budget, and who gives way.

Continuous batching with chunked prefill and preemption by recompute. An iteration

1. lets every cohort member decode a token, but for those that `pauses` names;
2. shares out what is left of `budget`, the lowest rank first, among prompts under way and waiting
   jobs. Of these the head starts or nobody: it needs a seat, and memory for all the tokens that it
   has beside what prompts under way still lack.

Where running jobs lack memory, the one of the highest rank is evicted (recompute), and nobody is
admitted in that iteration. Where the head of the queue lacks a seat or memory, those of the running
that `may_evict` grants it are evicted, the highest rank first, if that lets it start.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from annotated_doc import Doc
from annotated_types import Ge

from bros_sim.engine.reasons import Note
from bros_sim.engine.scheduler import Plan, ReplicaView
from bros_sim.engine.sequence import JobView
from bros_sim.schedulers.ordered.attempt import Attempt
from bros_sim.schedulers.ordered.policy import OrderedPolicy
from bros_sim.schedulers.ordered.step import Eviction, Step
from bros_sim.schedulers.queues import RankedQueue


@dataclass
class OrderedLoop(OrderedPolicy):
    """The loop and its memory."""

    _waiting: RankedQueue = field(init=False, default_factory=RankedQueue)
    _running: dict[int, JobView] = field(init=False, default_factory=dict)
    _outside: dict[int, JobView] = field(init=False, default_factory=dict)
    """Running jobs outside the cohort: prompts under way, and paused ones."""
    _seats: list[int] = field(init=False, default_factory=lambda: [0, 0])
    """Running jobs by class."""
    _refused: int = field(init=False, default=-1)
    """The head of the queue to which nobody gave way, if nothing has happened since."""

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
        Attempt(self, step, self._running, self._outside, self._waiting).put_together()
        return step

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
            *(gone.note() for gone in step.evictions),
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
