"""BROS-RR, the ablation of the BROS paper (section 5): round robin without bidirectional KV.

Stated (digests of the paper): round robin, no bidirectional KV, whole prompts, prefill and decode
in one batch. Everything else is inferred:

- An iteration serves one class; real-time and best-effort iterations alternate while both have
  work, and a turn that memory leaves empty goes to the other class.
- All running jobs of the class decode, in order of arrival; then waiting ones join, FCFS, up to
  ``batch_cap`` jobs and ``max_num_batched_tokens`` prompt tokens, unless someone running lacked
  memory. The other class keeps its KV meanwhile.
- Memory is got by recompute. A real-time job takes it from best-effort jobs, the latest arrival
  first; a running one then from real-time jobs that arrived after it. A running best-effort job
  takes it from best-effort jobs that arrived after it, a waiting one from nobody. Who still lacks
  a block is passed over and keeps its KV.

So the earliest arrival of a class is never recomputed for its own class, and goes on as soon as
the other class leaves it memory.
"""

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import Annotated

from annotated_doc import Doc
from annotated_types import Ge, Lt

from bros_sim.core.request import ServiceClass
from bros_sim.engine.kv_cache import KVManager
from bros_sim.engine.reasons import (
    AFTER_PREEMPTION,
    BATCH_CAP,
    BUDGET,
    MEMORY,
    OTHER_CLASS,
    Note,
)
from bros_sim.engine.scheduler import Plan, ReplicaView
from bros_sim.engine.sequence import JobView

RT, BE = ServiceClass.RT, ServiceClass.BE
_by_arrival = attrgetter("id")


@dataclass(slots=True)
class _Turn:
    """One class's iteration under construction; ``running`` is what is left of the running."""

    kv: KVManager
    running: dict[ServiceClass, list[JobView]]
    batch: list[JobView] = field(default_factory=list)
    admitted: list[JobView] = field(default_factory=list)
    evicted: list[JobView] = field(default_factory=list)
    takers: list[JobView] = field(default_factory=list)
    """For whom each of the evicted gave way."""
    explain: bool = False
    left_out: list[Note] = field(default_factory=list)

    def take_from(self, service_class: ServiceClass, taker: JobView, after: int = -1) -> bool:
        """Drop the KV of the class's latest arrival, if that is later than job ``after``."""
        jobs = self.running[service_class]
        if not jobs or jobs[-1].id <= after:
            return False
        job = jobs.pop()
        self.kv.release(job, resumable=True)
        self.evicted.append(job)
        self.takers.append(taker)
        return True

    def give_back(self, mark: int, evicted: int) -> None:
        """Undo all since ``mark``, when ``evicted`` best-effort jobs or none had been dropped."""
        self.kv.rollback(mark)
        self.running[BE] += reversed(self.evicted[evicted:])
        del self.evicted[evicted:]
        del self.takers[evicted:]


@dataclass
class RoundRobinScheduler:
    """BROS-RR: real-time and best-effort iterations alternate, preemption by recompute."""

    batch_cap: Annotated[int, Ge(1), Doc("most jobs of an iteration")] = 128
    max_num_batched_tokens: Annotated[int, Ge(1), Doc("prompt tokens of an iteration")] = 2048
    watermark: Annotated[
        float, Ge(0), Lt(1), Doc("share of all KV blocks kept free when admitting beside others")
    ] = 0.01
    _waiting: dict[ServiceClass, list[JobView]] = field(init=False)
    _running: dict[ServiceClass, list[JobView]] = field(init=False)
    _last: ServiceClass = field(init=False, default=BE)

    def __post_init__(self) -> None:
        self._waiting, self._running = {RT: [], BE: []}, {RT: [], BE: []}

    @property
    def mirrors(self) -> str:
        """What this policy follows."""
        return "BROS-RR (arXiv 2504.09590v1, baseline), reconstructed: docs/paper-map.md"

    @property
    def overhead_share(self) -> float:
        """None: taking turns needs no planning."""
        return 0.0

    def refuses(self, max_model_len: int) -> str | None:
        """Prompts are never cut."""
        if self.max_num_batched_tokens >= max_model_len:
            return None
        return (
            f"max_num_batched_tokens {self.max_num_batched_tokens} is below the model length"
            f" {max_model_len}: a whole prompt could never run"
        )

    def submit(self, job: JobView) -> None:
        """See `Scheduler.submit`."""
        self._waiting[job.service_class].append(job)

    def finished(self, job: JobView) -> None:
        """See `Scheduler.finished`."""
        self._running[job.service_class].remove(job)

    def running_jobs(self) -> Iterable[JobView]:
        """Jobs with KV by class and arrival."""
        return chain(self._running[RT], self._running[BE])

    def waiting_jobs(self) -> Iterable[JobView]:
        """Waiting jobs by class and arrival."""
        return chain(self._waiting[RT], self._waiting[BE])

    def plan(self, view: ReplicaView) -> Plan:
        """The turn of the class that did not have the last one, or the other's."""
        mark, starved = view.kv.mark(), list[Note]()
        for service_class in (RT, BE) if self._last is BE else (BE, RT):
            turn = self._turn(view, service_class)
            if turn.batch:
                self._last = service_class
                turn.left_out += starved
                return self._decide(turn, service_class)
            view.kv.rollback(mark)
            starved = [note for note in turn.left_out if note.reason == MEMORY]
        return Plan()

    def _turn(self, view: ReplicaView, service_class: ServiceClass) -> _Turn:
        running = {name: list(jobs) for name, jobs in self._running.items()}
        turn = _Turn(view.kv, running, explain=view.explain)
        self._go_on(turn, service_class)
        if not turn.evicted:
            self._admit(turn, service_class)
        elif turn.explain and self._waiting[service_class]:
            head = self._waiting[service_class][0]
            turn.left_out.append(Note(head, AFTER_PREEMPTION, turn.evicted[-1]))
        return turn

    def _go_on(self, turn: _Turn, service_class: ServiceClass) -> None:
        """Running jobs of the class, the earliest arrival first."""
        jobs = turn.running[service_class]
        while len(turn.batch) < len(jobs):
            job = jobs[len(turn.batch)]
            while not turn.kv.extend(job, job.num_tokens):
                from_be = service_class is RT and turn.take_from(BE, job)
                if not (from_be or turn.take_from(service_class, job, after=job.id)):
                    if turn.explain:
                        turn.left_out += (Note(x, MEMORY) for x in jobs[len(turn.batch) :])
                    return
            turn.batch.append(job)

    def _admit(self, turn: _Turn, service_class: ServiceClass) -> None:
        """Waiting jobs of the class; the head or nobody."""
        budget = self.max_num_batched_tokens
        for job in self._waiting[service_class]:
            budget -= job.num_tokens
            if len(turn.batch) == self.batch_cap or budget < 0:
                turn.left_out.append(self._why_not(turn, job, budget))
                return
            mark, evicted = turn.kv.mark(), len(turn.evicted)
            while not self._fits(turn, job):
                if service_class is BE or not turn.take_from(BE, job):
                    turn.give_back(mark, evicted)
                    turn.left_out.append(self._lacks_memory(turn, job))
                    return
            turn.batch.append(job)
            turn.admitted.append(job)
            turn.running[service_class].append(job)

    def _fits(self, turn: _Turn, job: JobView) -> bool:
        spare = self._spare(turn)
        return turn.kv.admit(job, job.num_tokens, (), must_fit=job.num_tokens, spare=spare)

    def _spare(self, turn: _Turn) -> int:
        beside_others = turn.running[RT] or turn.running[BE]
        return int(self.watermark * turn.kv.num_gpu_blocks) if beside_others else 0

    def _why_not(self, turn: _Turn, job: JobView, budget: int) -> Note:
        """The batch is full, or the job's prompt is more than what was left of the budget."""
        if len(turn.batch) == self.batch_cap:
            return Note(job, BATCH_CAP, limit=self.batch_cap)
        return Note(job, BUDGET, None, job.num_tokens, budget + job.num_tokens)

    def _lacks_memory(self, turn: _Turn, job: JobView) -> Note:
        blocks = -(-job.num_tokens // turn.kv.block_size) + self._spare(turn)
        return Note(job, MEMORY, None, blocks, turn.kv.free_blocks)

    def _notes(self, turn: _Turn, service_class: ServiceClass) -> tuple[Note, ...]:
        """Why the others do not run: of those whose turn it is not, the running and the head."""
        other = BE if service_class is RT else RT
        idle = [*self._running[other], *self._waiting[other][:1]]
        pushed = dict(zip((job.id for job in turn.evicted), turn.takers, strict=True))
        named = {note.job.id for note in turn.left_out} | pushed.keys()
        return (
            *(Note(job, MEMORY, pushed[job.id]) for job in turn.evicted),
            *(note for note in turn.left_out if note.job.id not in pushed),
            *(Note(job, OTHER_CLASS) for job in idle if job.id not in named),
        )

    def _decide(self, turn: _Turn, service_class: ServiceClass) -> Plan:
        """Write the queues and the plan."""
        for job in turn.evicted:
            insort(self._waiting[job.service_class], job, key=_by_arrival)
        for job in turn.admitted:
            self._waiting[job.service_class].remove(job)
        for jobs in turn.running.values():
            jobs.sort(key=_by_arrival)
        self._running = turn.running
        chosen = {job.id for job in turn.batch}
        lacking = (job for job in turn.batch if not job.decoding)
        return Plan(
            tuple((job, job.num_tokens - job.num_computed) for job in lacking),
            tuple((job, 0) for job in turn.admitted),
            tuple(turn.evicted),
            tuple(job for job in self.running_jobs() if job.decoding and job.id not in chosen),
            notes=self._notes(turn, service_class) if turn.explain else (),
        )
