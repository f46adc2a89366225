"""FastServe: skip-join multi-level feedback queues (arXiv 2305.05920v3; NSDI '26).

Checked against the authors' code (github.com/LLMServe/FastServe, 6da4b75, scheduler.py, "sj-mlfq").

Exact: queue i has a quantum of ``base_quantum_s * quantum_ratio**i`` (the code's 10 ms and 2). A
request joins, at the back, the highest queue whose quantum covers its first iteration alone as the
estimate has it. Each iteration takes whole prompts and decodes together, from the first queue down,
up to ``max_num_seqs`` requests and ``max_num_batched_tokens`` of prompts. What an iteration takes
counts for every member; beyond its quantum a member goes one queue down, to the front, and its
count starts anew. Who is not in the batch keeps its KV. Where memory is short the last request of
the lowest queue gives way. A request not served for ``starvation_s`` goes to the front of the first
queue.

Simplified, and why:
- Who gives way is recomputed; FastServe moves its KV to the host, ahead of need: where memory is
  short it does worse here than there (2.7 times, notes on the paper say).
- A prompt without room for its tokens or KV lets the decodes behind it go on (the code ends the
  batch there), and nobody is admitted in an iteration that took memory from the running.
- Starving requests are looked for before every iteration; the code looks every 1,000 iterations and
  counts a request that never ran as starving. 3 s are the code's, notes on the paper have 0.3 s.
- Who ran keeps its position in a queue; the code turns the order of a batch around each time.
- No pipeline parallelism, beam search, or bound on KV in host memory.
"""

import heapq
from collections import abc
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Annotated

from annotated_doc import Doc
from annotated_types import Ge, Gt, Le

from bros_sim.engine.latency_model import StepShape
from bros_sim.engine.reasons import BATCH_CAP, BUDGET, Note
from bros_sim.engine.scheduler import UNTIL_EVENT, Plan, ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.ordered.policy import Rank, Step
from bros_sim.schedulers.ordered.scheduler import OrderedParameters, OrderedScheduler
from bros_sim.schedulers.vllm_parameters import WholePromptTokens


@dataclass(slots=True)
class _Place:
    """Where a request stands, and what it has used of its quantum there."""

    level: int
    order: int
    used_s: float = 0.0
    since: float | None = None
    version: int = 0


@dataclass
class FeedbackQueues:
    """Queues 0, 1, 2, ...: a quantum of ``base_s`` in the first, ``ratio`` times more in each next.

    Everybody in the batch is served by every iteration, so one clock of served seconds and one heap
    of the readings at which quanta run out do for all: an iteration costs the same, however many it
    serves. ``place`` sorts requests as they are to be served: by queue, and in it by position.
    """

    base_s: float
    ratio: float
    _places: dict[int, _Place] = field(default_factory=dict)
    _served: set[int] = field(default_factory=set)
    _clock: float = 0.0
    _expiries: list[tuple[float, int, int]] = field(default_factory=list)
    _rests: list[tuple[float, int, int]] = field(default_factory=list)
    _back: int = 0
    _front: int = 0

    def join(self, seq: int, first_s: float, now: float) -> None:
        """Go to the back of the highest queue whose quantum covers ``first_s``; skip the others."""
        level = 0
        while self._quantum_s(level) < first_s:
            level += 1
        self._back += 1
        self._places[seq] = _Place(level, self._back)
        heapq.heappush(self._rests, (now, seq, 0))

    def leave(self, seq: int) -> None:
        """The request is done."""
        del self._places[seq]
        self._served.discard(seq)

    def place(self, seq: int) -> tuple[int, int]:
        """Queue and position in it; the lowest is served first."""
        at = self._places[seq]
        return at.level, at.order

    def elapse(self, durations_s: abc.Sequence[float]) -> None:
        """Iterations have served the batch; at the end of a quantum it goes one queue down."""
        for seconds in durations_s:
            self._clock += seconds
            while self._expiries and self._expiries[0][0] < self._clock:
                _, seq, version = heapq.heappop(self._expiries)
                at = self._places.get(seq)
                if at is not None and at.version == version and at.since is not None:
                    self._to_front(at, at.level + 1)
                    self._start(seq, at, self._clock)

    def serve(self, batch: Iterable[int], now: float) -> None:
        """From now on these are served, and nobody else."""
        chosen = set(batch)
        for seq in sorted(self._served - chosen):
            at = self._places[seq]
            if at.since is not None:
                at.used_s, at.since = self._clock - at.since, None
            at.version += 1
            heapq.heappush(self._rests, (now, seq, at.version))
        for seq in sorted(chosen - self._served):
            at = self._places[seq]
            at.version += 1
            self._start(seq, at, self._clock - at.used_s)
        self._served = chosen

    def promote(self, now: float, patience_s: float) -> bool:
        """Whoever was not served for that long goes to the front of the first queue."""
        moved = False
        while self._rests and self._rests[0][0] + patience_s <= now:
            _, seq, version = heapq.heappop(self._rests)
            at = self._places.get(seq)
            if at is not None and at.version == version and at.level:
                self._to_front(at, 0)
                moved = True
        return moved

    def _quantum_s(self, level: int) -> float:
        return self.base_s * self.ratio**level

    def _start(self, seq: int, at: _Place, since: float) -> None:
        at.since = since
        heapq.heappush(self._expiries, (since + self._quantum_s(at.level), seq, at.version))

    def _to_front(self, at: _Place, level: int) -> None:
        self._front -= 1
        at.level, at.order = level, self._front


class FastServeScheduler(OrderedScheduler):
    """The loop in order of `FeedbackQueues`."""

    parameters: "FastServeParameters"
    cuts_prompts = False
    caches_prefixes = False
    timeless = False

    def __init__(self, parameters: "FastServeParameters") -> None:
        super().__init__(parameters)
        self._arrived: list[SequenceView] = []
        self._queues = FeedbackQueues(parameters.base_quantum_s, parameters.quantum_ratio)

    def budget(self, view: ReplicaView) -> int:
        return self.token_limit + view.num_decodes + len(view.batch.outside)

    def rank(self, seq: SequenceView, now: float) -> Rank:
        return self._queues.place(seq.id)

    def has_seat(self, seq: SequenceView, step: Step) -> bool:
        return True  # any number may hold KV; how many compute is for `grant`

    def grant(self, seq: SequenceView, tokens: int, step: Step) -> int:
        """All of them, if the batch has a place and the prompts in it leave room."""
        decodes = self.runs(seq) and tokens == 1
        full = step.decodes + len(step.chunks) >= self.max_num_seqs
        return 0 if full or not (decodes or tokens <= self._room(step)) else tokens

    def why_not(self, seq: SequenceView, tokens: int, step: Step) -> Note:
        if step.decodes + len(step.chunks) >= self.max_num_seqs:
            return Note(seq, BATCH_CAP, limit=self.max_num_seqs)
        return Note(seq, BUDGET, None, tokens, self._room(step))

    def may_evict(self, victim: SequenceView, taker: SequenceView, now: float) -> bool:
        return self.rank(victim, now) > self.rank(taker, now)

    def lasts(self, view: ReplicaView) -> int:
        return 1 if self._waiting or self.batch.outside else UNTIL_EVENT

    def pauses(self, view: ReplicaView) -> abc.Sequence[Note]:
        """Running requests for which the first ``max_num_seqs`` of all requests leave no place."""
        if len(view.batch) + len(self._waiting) <= self.max_num_seqs:
            return ()
        ahead = islice(self._waiting, self.max_num_seqs)
        seqs = [(self.rank(seq, view.now), seq.id) for seq in chain(view.batch, ahead)]
        batch = {seq for _, seq in heapq.nsmallest(self.max_num_seqs, seqs)}
        most = self.max_num_seqs
        return [Note(x, BATCH_CAP, limit=most) for x in view.batch if x.id not in batch]

    def submit(self, seq: SequenceView) -> None:
        self._queues.join(seq.id, 0.0, seq.arrival_s)  # until `begin`, which has the estimate
        self._arrived.append(seq)
        super().submit(seq)

    def finished(self, seq: SequenceView) -> None:
        self._queues.leave(seq.id)
        super().finished(seq)

    def begin(self, view: ReplicaView) -> None:
        self._queues.elapse(view.last_durations_s)
        for seq in self._arrived:
            alone = view.estimate.step_s(StepShape(((seq.prompt_tokens, 0),), 0, 0))
            self._queues.join(seq.id, alone, seq.arrival_s)
        promoted = self._queues.promote(view.now, self.parameters.starvation_s)
        if self._arrived or promoted:
            self._arrived.clear()
            self.rerank(view.now)

    def settle(self, plan: Plan, view: ReplicaView) -> None:
        if plan.chunks or plan.evicted or plan.paused:
            idle = {seq.id for seq in (*plan.evicted, *plan.paused)}
            decodes = {seq.id for seq in view.batch if seq.decoding} - idle
            self._queues.serve(decodes | {seq.id for seq, _ in plan.chunks}, view.now)

    def _room(self, step: Step) -> int:
        """Prompt tokens that the iteration has left."""
        return self.token_limit - sum(x for _, x in step.chunks if x > 1)


@dataclass(frozen=True)
class FastServeParameters(OrderedParameters):
    """FastServe: the queue of a request follows from its prompt and the service that it has had."""

    makes = FastServeScheduler
    fidelity = "simplified"
    mirrors = "FastServe (arXiv 2305.05920v3; code of 6da4b75), simplified: preemption by recompute"
    cuts_prompts = False

    max_num_batched_tokens: Annotated[WholePromptTokens, Doc("token budget of an iteration")] = 2048
    base_quantum_s: Annotated[float, Ge(1e-6), Doc("service in the first queue")] = 0.01
    quantum_ratio: Annotated[
        float, Ge(1.1), Le(100), Doc("quantum of a queue to that of the one above")
    ] = 2.0
    starvation_s: Annotated[float, Gt(0), Doc("without service for so long: to the front")] = 3.0
