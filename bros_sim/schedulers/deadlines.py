"""Earliest deadline first, by the deadline of the next token, and least slack first.

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
"""

from dataclasses import dataclass
from typing import Annotated

from annotated_doc import Doc

from bros_sim.engine.estimate import Estimate
from bros_sim.engine.latency_model import StepShape
from bros_sim.engine.scheduler import ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.ordered.scheduler import OrderedParameters, OrderedScheduler
from bros_sim.schedulers.queues import Rank

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
