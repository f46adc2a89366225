"""Shortest job first: the textbook's order of waiting requests, without preemption.

A request's size is its prompt and its predicted output, in tokens. Who runs goes on; the size
decides who is admitted next, and who is recomputed when memory is short: the largest. Engine-side
baseline of Niyama (arXiv 2503.22562) and many others, which differ in how they predict.

Simplified: size in tokens, not seconds; no aging, so that long requests can starve under overload.
"""

from dataclasses import dataclass

from bros_sim.core.world import World
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.ordered.scheduler import OrderedParameters, OrderedScheduler
from bros_sim.schedulers.prediction import LengthParameters, LengthPrediction
from bros_sim.schedulers.queues import Rank


@dataclass(frozen=True)
class SjfParameters(LengthParameters, OrderedParameters):
    """Shortest job first by predicted tokens, prompt and output; who runs goes on."""

    @property
    def mirrors(self) -> str:
        return f"shortest job first (textbook), lengths by {self.lengths}"

    def make(self, world: World) -> "SjfScheduler":
        return SjfScheduler(self)


class SjfScheduler(OrderedScheduler):
    """The loop in order of predicted size."""

    def __init__(self, parameters: SjfParameters) -> None:
        super().__init__(parameters)
        self.prediction = LengthPrediction(parameters)

    def set_true_length(self, seq: SequenceView, output_tokens: int) -> None:
        self.prediction.set_true_length(seq, output_tokens)

    def rank(self, seq: SequenceView, now: float) -> Rank:
        """The predicted size."""
        return (seq.prompt_tokens + self.prediction.output_tokens(seq),)

    def finished(self, seq: SequenceView) -> None:
        super().finished(seq)
        self.prediction.forget(seq)
