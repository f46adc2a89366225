"""Shortest job first, with and without preemption, and Niyama's shortest remaining prompt first.

`sjf`, the textbook's order of waiting requests: by prompt and predicted output, in tokens. Who runs
goes on; where memory is short the largest is recomputed. Engine-side baseline of Niyama (arXiv
2503.22562) and many others, which differ in how they predict.

`srpf` with ``remaining: total``, the preemptive form: what remains of a request is what it has to
compute and its predicted output; of one without KV all its tokens count again. A waiting request
with less left than a running one takes its seat or memory, if that lets it start.

`srpf` with ``remaining: prompt``, the baseline "SRPF" of Niyama (deadline_scheduler.py and
sequence.py of its branch of microsoft/sarathi-serve): the prompt tokens left decide who gets the
budget, those under way and waiting alike. Nothing is predicted and nobody is evicted for another.

Simplified: size in tokens, not seconds; no aging; recompute, no swapping. Niyama's engine asserts
that memory suffices; here the request with the most left is recomputed.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_doc import Doc

from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.prediction import LengthParameters, PredictingScheduler
from bros_sim.schedulers.queues import Rank


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
