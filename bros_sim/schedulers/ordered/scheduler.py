"""The loop that the rivals share: a rival is an order, a budget, and who gives way.

Continuous batching with chunked prefill and preemption by recompute. An iteration

1. lets every cohort member decode a token, but for those that `pauses` names;
2. shares out what is left of `budget`, the lowest rank first, among prompts under way and waiting
   requests. Of these the head starts or nobody: it needs a seat, and memory for all the tokens that
   it has beside what prompts under way still lack.

Where running requests lack memory, the one of the highest rank is evicted (recompute), and nobody
is admitted in that iteration. Where the head of the queue lacks a seat or memory, those of the
running that `may_evict` grants it are evicted, the highest rank first, if that lets it start.
"""

from collections import abc
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_doc import Doc

from bros_sim.core.world import World
from bros_sim.engine.batch import Batch
from bros_sim.engine.reasons import MEMORY, OUTRANKED, SEATS, Note
from bros_sim.engine.scheduler import BatchView, Plan, ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.ordered.attempt import Attempt
from bros_sim.schedulers.ordered.policy import Eviction, OrderedPolicy, RankedQueue, Step
from bros_sim.schedulers.parameters import SchedulerParameters, too_few
from bros_sim.schedulers.vllm_parameters import Seqs, Tokens


@dataclass(frozen=True)
class OrderedParameters(SchedulerParameters):
    """The two limits of most engines: tokens an iteration, and running requests."""

    cuts_prompts: ClassVar[bool] = True

    max_num_batched_tokens: Annotated[Tokens, Doc("token budget of an iteration")] = 2048
    max_num_seqs: Annotated[Seqs, Doc("most requests that run at a time")] = 256

    def conflicts(self, world: World) -> tuple[str, ...]:
        budget = self.max_num_batched_tokens
        found = too_few("max_num_batched_tokens", budget, self.max_num_seqs)
        length = world.max_model_len
        if found or self.cuts_prompts or budget >= length:
            return found
        return (
            f"an iteration of {budget} tokens is below the model length {length}:"
            " a whole prompt could never run",
        )


class OrderedScheduler(OrderedPolicy):
    """The loop and its memory."""

    overhead_share = 0.0

    def __init__(self, parameters: OrderedParameters) -> None:
        self.parameters = parameters
        self.token_limit = parameters.max_num_batched_tokens
        self.max_num_seqs = parameters.max_num_seqs
        self._waiting = RankedQueue()
        self.batch: BatchView = Batch(track_longest=False)  # who runs
        self._evicted: set[int] = set()
        """Members of the batch that the plan just made takes out of it."""
        self._refused = -1
        """The head of the queue to which nobody gave way, if nothing has happened since."""

    def runs(self, seq: SequenceView) -> bool:
        """Whether the request holds KV, and goes on holding it."""
        return seq in self.batch and seq.id not in self._evicted

    def computed(self, seq: SequenceView) -> int:
        """Tokens in the cache of a request that runs; others have lost theirs."""
        return seq.num_computed if self.runs(seq) else 0

    def rerank(self, now: float) -> None:
        """Ask for the rank of everyone who waits, in O(waiting)."""
        self._waiting.rerank(lambda seq: self.rank(seq, now))

    def set_true_length(self, seq: SequenceView, output_tokens: int) -> None:
        pass

    def submit(self, seq: SequenceView) -> bool | None:
        self._waiting.push(seq, self.rank(seq, seq.arrival_s))
        self._refused = -1
        return None

    def finished(self, seq: SequenceView) -> None:
        self._refused = -1

    def waiting_seqs(self) -> Iterable[SequenceView]:
        return iter(self._waiting)

    def plan(self, view: ReplicaView) -> Plan:
        """An iteration, put together anew after each eviction that it turns out to need."""
        self.batch = view.batch
        self._evicted.clear()
        self.begin(view)
        start, evictions = view.kv.mark(), list[Eviction]()
        step = self._give_way(self._attempt(view, evictions), evictions, start)
        head = step.lack.seq if step.lack and step.lack.waits else None
        in_vain = [gone for gone in evictions if head and gone.lack.seq is head]
        forced = not (step.decodes or step.chunks or step.evictions)
        if in_vain or forced:
            kept = [gone for gone in evictions if gone not in in_vain]
            view.kv.rollback(start)
            step = self._attempt(view, kept, forced=forced)
            if forced:
                step = self._give_way(step, kept, start)
        plan = self._decide(step)
        self.settle(plan, view)
        return plan

    def _attempt(
        self, view: ReplicaView, evictions: abc.Sequence[Eviction], *, forced: bool = False
    ) -> Step:
        """The iteration without the evicted, up to where a seat or memory is lacking."""
        budget = self.token_limit if forced else self.budget(view)
        idle = () if forced else self.pauses(view)
        step = Step(view, budget, list(view.batch.by_class), tuple(evictions), idle, forced)
        Attempt(self, step, self._waiting).put_together()
        return step

    def _give_way(self, step: Step, evictions: list[Eviction], start: int) -> Step:
        """Evict, one by one, for what is lacking; for who waits only if that is not `forced`."""
        while (lack := step.lack) and not (lack.waits and step.forced):
            if not (victim := self._victim(step)):
                break
            evictions.append(Eviction(victim, lack))
            step.view.kv.rollback(start)
            step = self._attempt(step.view, evictions, forced=step.forced)
        return step

    def _victim(self, step: Step) -> SequenceView | None:
        """Who is evicted for what is lacking: of those who may be, the highest rank."""
        lack, now = step.lack, step.view.now
        gone = step.gone
        seqs = [seq for seq in self.batch if seq.id not in gone]
        if lack and lack.waits and lack.seq:
            if lack.seq.id == self._refused:
                return None
            seqs = [seq for seq in seqs if self.may_evict(seq, lack.seq, now)]
        return max(seqs, key=lambda seq: (self.rank(seq, now), seq.id), default=None)

    def _decide(self, step: Step) -> Plan:
        for _ in step.admitted:
            self._waiting.pop()
        evicted = tuple(gone.seq for gone in step.evictions)
        self._evicted = step.gone
        for seq in evicted:
            self._waiting.push(seq, self.rank(seq, step.view.now))
        happened = bool(step.chunks or evicted or step.paused)
        refused = step.lack.seq if step.lack and self.timeless and not happened else None
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
        gone = step.gone
        others = (note for note in (*step.idle, *step.notes) if note.seq.id not in gone)
        why = {SEATS: OUTRANKED, MEMORY: MEMORY}
        return (*(Note(seq, why[lack.reason], lack.seq) for seq, lack in step.evictions), *others)


@dataclass(frozen=True)
class LengthParameters(OrderedParameters):
    """The limits, and how long a policy believes an output to be."""

    lengths: Annotated[
        Literal["max_tokens", "oracle"],
        Doc("output length to expect: the client's cap, or the true one (a bound, not a system)"),
    ] = "max_tokens"


class PredictingScheduler(OrderedScheduler):
    """A policy that predicts output lengths: by default ``max_tokens``, the client's cap.

    It sees no true lengths (law L8), except through `Scheduler.set_true_length`, for which
    ``lengths: oracle`` asks; it is then a bound, not a system. Where a stream's rule makes
    ``max_tokens`` proportional to the true length (``headroom``, the default, or ``exact``), the
    cap orders requests as the oracle does: compare the two only on traces that hold caps of their
    own or under the rule ``fixed``.
    """

    parameters: LengthParameters

    def __init__(self, parameters: LengthParameters) -> None:
        super().__init__(parameters)
        self._true: dict[int, int] = {}

    def set_true_length(self, seq: SequenceView, output_tokens: int) -> None:
        if self.parameters.lengths == "oracle":
            self._true[seq.id] = output_tokens

    def output_tokens(self, seq: SequenceView) -> int:
        """Predicted length of the output; at least one more token than there are."""
        return max(self._true.get(seq.id, seq.max_tokens), seq.num_output + 1)

    def finished(self, seq: SequenceView) -> None:
        super().finished(seq)
        self._true.pop(seq.id, None)
