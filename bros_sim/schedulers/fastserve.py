"""FastServe: skip-join multi-level feedback queues (arXiv 2305.05920v3; NSDI '26).

Checked against the authors' code (github.com/LLMServe/FastServe, 6da4b75, scheduler.py, "sj-mlfq").

Exact: queue i has a quantum of ``base_quantum_s * quantum_ratio**i`` (the code's 10 ms and 2). A
request joins, at the back, the highest queue whose quantum covers its first iteration alone as the
estimate has it. Each iteration takes whole prompts and decodes together, from the first queue down,
up to so many requests and prompt tokens. What an iteration takes counts for every member; beyond
its quantum a member goes one queue down, to the front, and its count starts anew. Who is not in the
batch keeps its KV. Where memory is short the last request of the lowest queue gives way. A request
not served for ``starvation_s`` goes to the front of the first queue.

Simplified, and why:
- Who gives way is recomputed; FastServe moves its KV to the host, ahead of need, while others
  compute. Where memory is short it does worse here than there (2.7 times, notes on the paper say).
- A prompt that finds no room for its tokens or its KV lets the decodes behind it go on (the code
  ends the batch there), and nobody is admitted in an iteration that took memory from the running.
- Starving requests are looked for before every iteration; the code looks every 1,000 iterations and
  counts a request that never ran as starving. 3 s are the code's, notes on the paper have 0.3 s.
- Who ran keeps its position in a queue; the code turns the order of a batch around each time.
- No pipeline parallelism, beam search, or bound on KV in host memory.
"""

import heapq
from collections import abc
from dataclasses import dataclass
from itertools import chain, islice
from typing import Annotated

from annotated_doc import Doc
from annotated_types import Ge, Gt, Le

from bros_sim.engine.latency_model import StepShape
from bros_sim.engine.reasons import BATCH_CAP, BUDGET, Note
from bros_sim.engine.scheduler import UNTIL_EVENT, Plan, ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.feedback import FeedbackQueues
from bros_sim.schedulers.ordered.scheduler import OrderedParameters, OrderedScheduler
from bros_sim.schedulers.ordered.step import Step
from bros_sim.schedulers.queues import Rank
from bros_sim.schedulers.vllm_parameters import WholePromptTokens


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
        """Decodes do not count, those that paused included."""
        return self.token_limit + view.num_decodes + len(view.batch.outside)

    def rank(self, seq: SequenceView, now: float) -> Rank:
        return self._queues.place(seq.id)

    def has_seat(self, seq: SequenceView, step: Step) -> bool:
        """Any number may hold KV; how many compute is for `grant`."""
        return True

    def grant(self, seq: SequenceView, tokens: int, step: Step) -> int:
        """All of them, if the batch has a place and the prompts in it leave room."""
        full = step.decodes + len(step.chunks) >= self.max_num_seqs
        decodes = self.runs(seq) and tokens == 1
        return 0 if full or not (decodes or tokens <= self._room(step)) else tokens

    def why_not(self, seq: SequenceView, tokens: int, step: Step) -> Note:
        """The batch is full, or the prompt too long for what is left."""
        if step.decodes + len(step.chunks) >= self.max_num_seqs:
            return Note(seq, BATCH_CAP, limit=self.max_num_seqs)
        return Note(seq, BUDGET, None, tokens, self._room(step))

    def may_evict(self, victim: SequenceView, taker: SequenceView, now: float) -> bool:
        return self.rank(victim, now) > self.rank(taker, now)

    def lasts(self, view: ReplicaView) -> int:
        """While everybody is in the batch, what queue they are in changes nothing."""
        return 1 if self._waiting or self.batch.outside else UNTIL_EVENT

    def pauses(self, view: ReplicaView) -> abc.Sequence[Note]:
        """Running requests for which the first ``max_num_seqs`` of all requests leave no place."""
        if len(view.batch) + len(self._waiting) <= self.max_num_seqs:
            return ()
        ahead = islice(self._waiting, self.max_num_seqs)
        seqs = [(self.rank(seq, view.now), seq.id) for seq in chain(view.batch, ahead)]
        batch = {seq for _, seq in heapq.nsmallest(self.max_num_seqs, seqs)}
        left = (seq for seq in view.batch if seq.id not in batch)
        return [Note(seq, BATCH_CAP, limit=self.max_num_seqs) for seq in left]

    def submit(self, seq: SequenceView) -> None:
        """It waits; the queue that it joins depends on the estimate, which `begin` has."""
        self._queues.join(seq.id, 0.0, seq.arrival_s)
        self._arrived.append(seq)
        super().submit(seq)

    def finished(self, seq: SequenceView) -> None:
        self._queues.leave(seq.id)
        super().finished(seq)

    def begin(self, view: ReplicaView) -> None:
        """Count what the last iterations took, and find a queue for those who arrived."""
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
    """FastServe: the queue of a request follows from its prompt and the service that it has had.

    ``max_num_seqs`` bounds the requests of an iteration, ``max_num_batched_tokens`` its prompts.
    """

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
