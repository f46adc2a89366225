"""Least slack first: the time to the next token's deadline, less the time that it still takes.

As `edf`, but a long prompt counts as more urgent than a short one with the same deadline. What a
prompt still takes is what the policy's estimate says of its chunks alone, one after the other.
Decodes beside it are not counted, and a decode counts as nothing: it takes everybody one iteration.
Everybody's slack shrinks alike, so the order of those who wait stays what it was (deadline less
predicted time) and needs no sorting anew.

A textbook's policy (least laxity first); Scorpio and AccelGen order by slack as well. Simplified: a
request that can no longer be in time has the least slack of all and goes first.
"""

from dataclasses import dataclass

from bros_sim.core.world import World
from bros_sim.engine.estimate import Estimate
from bros_sim.engine.latency_model import StepShape
from bros_sim.engine.scheduler import ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.edf import EdfParameters, EdfScheduler, next_due_s
from bros_sim.schedulers.queues import Rank


@dataclass(frozen=True)
class LeastSlackParameters(EdfParameters):
    """Least time to spare until the next token's deadline first."""

    @property
    def mirrors(self) -> str:
        return "least slack first (textbook)"

    def make(self, world: World) -> "LeastSlackScheduler":
        return LeastSlackScheduler(self)


class LeastSlackScheduler(EdfScheduler):
    """The loop in order of slack."""

    def __init__(self, parameters: LeastSlackParameters) -> None:
        super().__init__(parameters)
        self._estimate: Estimate | None = None

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
        done = seq.num_computed if self.runs(seq) else 0
        seconds = 0.0
        while (tokens := min(seq.num_tokens - done, self.token_limit)) > 0:
            decodes = tokens == 1
            chunks = () if decodes else ((tokens, done),)
            seconds += self._estimate.step_s(StepShape(chunks, decodes, decodes * (done + 1)))
            done += tokens
        return seconds
