"""Shortest remaining processing first, and Niyama's shortest remaining prompt first.

``remaining: total``, the preemptive form of shortest job first: what remains of a request is
what it has to compute and its predicted output, in tokens; of a request without KV all its tokens
count again. A waiting request with less left than a running one takes its seat or memory, if that
lets it start; what was evicted is recomputed, and the larger for it.

``remaining: prompt``, the baseline "SRPF" of Niyama (arXiv 2503.22562; deadline_scheduler.py and
sequence.py of its branch of microsoft/sarathi-serve): the prompt tokens left decide who gets the
budget, those under way and waiting alike. Nothing is predicted and nobody is evicted for another.

Simplified: see `sjf`; and preemption costs what recompute costs, there is no swapping. Niyama's
engine has no preemption at all (it asserts that memory suffices); here the request with the most
left is recomputed when it does not.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_doc import Doc

from bros_sim.core.world import World
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.ordered.scheduler import OrderedParameters, OrderedScheduler
from bros_sim.schedulers.prediction import LengthParameters, LengthPrediction
from bros_sim.schedulers.queues import Rank


@dataclass(frozen=True)
class SrpfParameters(LengthParameters, OrderedParameters):
    """Shortest remaining processing first by predicted tokens, with preemption by recompute."""

    remaining: Annotated[
        Literal["total", "prompt"],
        Doc("what counts: prompt and predicted output, or the prompt alone (Niyama's SRPF)"),
    ] = "total"

    @property
    def mirrors(self) -> str:
        if self.remaining == "prompt":
            return "shortest remaining prompt first (SRPF of Niyama, arXiv 2503.22562)"
        return f"shortest remaining processing first (textbook), lengths by {self.lengths}"

    def make(self, world: World) -> "SrpfScheduler":
        return SrpfScheduler(self)


class SrpfScheduler(OrderedScheduler):
    """The loop in order of what remains."""

    def __init__(self, parameters: SrpfParameters) -> None:
        super().__init__(parameters)
        self.remaining = parameters.remaining
        self.prediction = LengthPrediction(parameters)

    def set_true_length(self, seq: SequenceView, output_tokens: int) -> None:
        self.prediction.set_true_length(seq, output_tokens)

    def rank(self, seq: SequenceView, now: float) -> Rank:
        """Tokens that remain: known ones without KV, and predicted ones."""
        computed = seq.num_computed if self.runs(seq) else 0
        if self.remaining == "prompt":
            return (seq.num_tokens - computed,)
        return (seq.prompt_tokens + self.prediction.output_tokens(seq) - computed,)

    def may_evict(self, victim: SequenceView, taker: SequenceView, now: float) -> bool:
        """Less remains of the taker; the difference only grows while the victim runs."""
        return self.remaining == "total" and self.rank(taker, now) < self.rank(victim, now)

    def finished(self, seq: SequenceView) -> None:
        super().finished(seq)
        self.prediction.forget(seq)
