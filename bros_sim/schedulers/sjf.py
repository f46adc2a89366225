"""Shortest job first: the textbook's order of waiting requests, without preemption.

A request's size is its prompt and its predicted output, in tokens. Who runs goes on; the size
decides who is admitted next, and who is recomputed when memory is short: the largest. Engine-side
baseline of Niyama (arXiv 2503.22562) and many others, which differ in how they predict.

Simplified: size in tokens, not seconds; no aging, so that long requests can starve under overload.
"""

from dataclasses import dataclass

from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.ordered.scheduler import OrderedScheduler
from bros_sim.schedulers.prediction import LengthPrediction
from bros_sim.schedulers.queues import Rank


@dataclass
class SjfScheduler(LengthPrediction, OrderedScheduler):
    """Shortest job first by predicted tokens, prompt and output; who runs goes on."""

    @property
    def mirrors(self) -> str:
        """What this policy follows."""
        return f"shortest job first (textbook), lengths by {self.lengths}"

    def rank(self, seq: SequenceView, now: float) -> Rank:  # noqa: ARG002
        """The predicted size."""
        return (seq.prompt_tokens + self.output_tokens(seq),)

    def finished(self, seq: SequenceView) -> None:
        """See `Scheduler.finished`."""
        super().finished(seq)
        self.forget(seq)
