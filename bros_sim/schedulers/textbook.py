"""Textbook orders on the common loop: by deadline, by slack, by size, by class.

`edf`, a textbook's policy (Liu and Layland, 1973); as in Niyama's baseline (arXiv 2503.22562) it
orders prompts here, while decodes run in every iteration. A token's deadline is `Slo.deadline`; a
request-level one (``e2e_s``) binds as well. It does not change while a request waits: it is that of
the first token, or of the one lacking since an eviction. Requests without any come last, real-time
before best-effort, then by arrival. Where memory is short, the latest deadline is recomputed. With
``preempts_be`` a waiting real-time request takes seat or memory of best-effort ones, whatever their
deadlines. Simplified: no admission control, so under overload the late keep others from being in
time.

`least_slack`, a textbook's policy too (least laxity first; Scorpio and AccelGen order by slack as
well): less the time that the token still takes, so a long prompt is more urgent than a short one.
That is what the policy's estimate says of its chunks alone, one after the other; a decode counts as
nothing. Everybody's slack shrinks alike, so those who wait need no sorting anew. Simplified: who
can no longer be in time has the least slack and goes first.

`sjf`, the textbook's order of waiting requests: by prompt and predicted output, in tokens. Who runs
goes on; where memory is short the largest is recomputed. Engine-side baseline of Niyama (arXiv
2503.22562) and many others, which differ in how they predict.

`srpf` with ``remaining: total``, the preemptive form: what remains of a request is what it has to
compute and its predicted output; of one without KV all its tokens count again. A waiting request
with less left than a running one takes its seat or memory, if that lets it start. ``prompt`` is the
baseline "SRPF" of Niyama (deadline_scheduler.py and sequence.py of its branch of
microsoft/sarathi-serve): the prompt tokens left decide who gets the budget, those under way and
waiting alike. Nothing is predicted and nobody is evicted for another. Simplified: size in tokens,
not seconds; no aging; recompute, no swapping. Niyama's engine asserts that memory suffices; here
the request with the most left is recomputed.

`static_priority`, what operators do by hand (no published system; vLLM's priority policy has no
reserve): real-time first, then by arrival. Best-effort requests never take the last
``reserved_seats`` of the seats, and join only while ``reserved_blocks`` of all KV blocks stay free
(what runs already may grow into them), so a real-time request finds room without a preemption;
where memory is short all the same, the latest arrival of best-effort is recomputed first.
``preempts_be`` is as of `edf`.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_doc import Doc

from bros_sim.core.request import ServiceClass
from bros_sim.engine.estimate import Estimate
from bros_sim.engine.latency_model import StepShape
from bros_sim.engine.scheduler import ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.ordered.policy import Rank, Step
from bros_sim.schedulers.ordered.scheduler import (
    LengthParameters,
    OrderedParameters,
    OrderedScheduler,
    PredictingScheduler,
)
from bros_sim.schedulers.parameters import Share

PreemptsBe = Annotated[
    bool, Doc("a waiting real-time request takes seat and memory of best-effort ones")
]


class EdfScheduler(OrderedScheduler):
    """The loop in order of deadlines."""

    parameters: "EdfParameters"

    def rank(self, seq: SequenceView, now: float) -> Rank:
        return (next_due_s(seq), seq.priority)

    def may_evict(self, victim: SequenceView, taker: SequenceView, now: float) -> bool:
        return self.parameters.preempts_be and victim.priority > taker.priority


@dataclass(frozen=True)
class EdfParameters(OrderedParameters):
    """Earliest deadline of the next token first."""

    makes = EdfScheduler
    mirrors = "earliest deadline first (textbook)"

    preempts_be: PreemptsBe = False


class LeastSlackScheduler(EdfScheduler):
    """The loop in order of slack."""

    _estimate: Estimate | None = None

    def begin(self, view: ReplicaView) -> None:
        """Learn what prompts take; who came before that is ranked anew."""
        if self._estimate is not view.estimate:
            self._estimate = view.estimate
            self.rerank(view.now)

    def rank(self, seq: SequenceView, now: float) -> Rank:
        """The latest instant to start at; without a deadline, by class."""
        return (next_due_s(seq) - self._needs_s(seq), seq.priority)

    def _needs_s(self, seq: SequenceView) -> float:
        """Predicted seconds until the next token, with the engine for itself."""
        if self._estimate is None or seq.decoding:
            return 0.0
        done, seconds = self.computed(seq), 0.0
        while (tokens := min(seq.num_tokens - done, self.token_limit)) > 0:
            decodes = tokens == 1
            chunks = () if decodes else ((tokens, done),)
            seconds += self._estimate.step_s(StepShape(chunks, decodes, decodes * (done + 1)))
            done += tokens
        return seconds


@dataclass(frozen=True)
class LeastSlackParameters(EdfParameters):
    """Least time to spare until the next token's deadline first."""

    makes = LeastSlackScheduler
    mirrors = "least slack first (textbook)"


def next_due_s(seq: SequenceView) -> float:
    """When the next token of a request is due; infinity when nothing binds it."""
    slo, arrival_s = seq.slo, seq.arrival_s
    return min(slo.deadline(arrival_s, seq.num_output + 1), slo.last_deadline(arrival_s))


class SjfScheduler(PredictingScheduler):
    """The loop in order of predicted size."""

    def rank(self, seq: SequenceView, now: float) -> Rank:
        return (seq.prompt_tokens + self.output_tokens(seq),)


@dataclass(frozen=True)
class SjfParameters(LengthParameters):
    """Shortest job first by predicted tokens, prompt and output; who runs goes on."""

    makes = SjfScheduler

    @property
    def mirrors(self) -> str:
        return f"shortest job first (textbook), lengths by {self.lengths}"


class SrpfScheduler(PredictingScheduler):
    """The loop in order of what remains."""

    parameters: "SrpfParameters"

    def rank(self, seq: SequenceView, now: float) -> Rank:
        """Tokens that remain: known ones without KV, and predicted ones."""
        prompt = self.parameters.remaining == "prompt"
        known = seq.num_tokens if prompt else seq.prompt_tokens + self.output_tokens(seq)
        return (known - self.computed(seq),)

    def may_evict(self, victim: SequenceView, taker: SequenceView, now: float) -> bool:
        """Less remains of the taker; the difference only grows while the victim runs."""
        total = self.parameters.remaining == "total"
        return total and self.rank(taker, now) < self.rank(victim, now)


@dataclass(frozen=True)
class SrpfParameters(LengthParameters):
    """Shortest remaining processing first by predicted tokens, with preemption by recompute."""

    makes = SrpfScheduler

    remaining: Annotated[
        Literal["total", "prompt"],
        Doc("what counts: prompt and predicted output, or the prompt alone (Niyama's SRPF)"),
    ] = "total"

    @property
    def mirrors(self) -> str:
        if self.remaining == "prompt":
            return "shortest remaining prompt first (SRPF of Niyama, arXiv 2503.22562)"
        return f"shortest remaining processing first (textbook), lengths by {self.lengths}"


BE = ServiceClass.BE


class StaticPriorityScheduler(OrderedScheduler):
    """The loop in order of class."""

    parameters: "StaticPriorityParameters"

    def rank(self, seq: SequenceView, now: float) -> Rank:
        return (seq.priority,)

    def has_seat(self, seq: SequenceView, step: Step) -> bool:
        kept = int(self.parameters.reserved_seats * self.max_num_seqs)
        crowded = seq.service_class is BE and step.running[1] >= self.max_num_seqs - kept
        return not crowded and super().has_seat(seq, step)

    def spare_blocks(self, seq: SequenceView, step: Step) -> int:
        share = self.parameters.reserved_blocks if seq.service_class is BE else 0.0
        return int(share * step.view.kv.num_gpu_blocks)

    def may_evict(self, victim: SequenceView, taker: SequenceView, now: float) -> bool:
        return self.parameters.preempts_be and victim.priority > taker.priority


@dataclass(frozen=True)
class StaticPriorityParameters(OrderedParameters):
    """Real-time before best-effort, with seats and KV blocks that best-effort leaves free."""

    makes = StaticPriorityScheduler
    mirrors = "static priority with a reserve (textbook)"

    reserved_seats: Annotated[
        Share, Doc("share of the seats that best-effort requests never take")
    ] = 0.1
    reserved_blocks: Annotated[
        Share, Doc("share of all KV blocks left free when best-effort joins others")
    ] = 0.1
    preempts_be: PreemptsBe = False
