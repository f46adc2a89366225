"""Shortest remaining processing first: the preemptive form of shortest job first.

What remains of a job is what it has to compute and its predicted output, in tokens: of a job
without KV all its tokens count again. A waiting job with less left than a running one takes its
seat or memory, if that lets it start; what was evicted is recomputed, and the larger for it.

Simplified: see `sjf`; and preemption costs what recompute costs, there is no swapping.
"""

from dataclasses import dataclass

from bros_sim.job import JobView
from bros_sim.schedulers.ordered import OrderedScheduler
from bros_sim.schedulers.prediction import LengthPrediction
from bros_sim.schedulers.queues import Rank


@dataclass
class SrpfScheduler(LengthPrediction, OrderedScheduler):
    """Shortest remaining processing first by predicted tokens, with preemption by recompute."""

    @property
    def mirrors(self) -> str:
        """What this policy follows."""
        return f"shortest remaining processing first (textbook), lengths by {self.lengths}"

    def rank(self, job: JobView, now: float) -> Rank:  # noqa: ARG002
        """Tokens that remain: known ones without KV, and predicted ones."""
        computed = job.num_computed if self.runs(job) else 0
        return (job.prompt_tokens + self.output_tokens(job) - computed,)

    def may_evict(self, victim: JobView, taker: JobView, now: float) -> bool:
        """Less remains of the taker; the difference only grows while the victim runs."""
        return self.rank(taker, now) < self.rank(victim, now)

    def finished(self, job: JobView) -> None:
        """See `Scheduler.finished`."""
        super().finished(job)
        self.forget(job)
