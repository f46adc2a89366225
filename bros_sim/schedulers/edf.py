"""Earliest deadline first, by the deadline of the next token.

A token's deadline is `Slo.deadline`; a request-level one (``e2e_s``) binds as well. The deadline of
a waiting request is that of its first token, or of the one that it lacks since it was evicted, so
it does not change while it waits. Requests without any come last, real-time before best-effort,
then by arrival. Where memory is short, the request with the latest deadline is recomputed.

Without ``preempts_be`` who runs goes on. With it, a waiting real-time request takes the seat or the
memory of best-effort ones, whatever their own deadlines.

EDF is a textbook's policy (Liu and Layland, 1973); as in Niyama's baseline (arXiv 2503.22562) it
orders prompts here, while decodes run in every iteration. Simplified: no admission control, so that
under overload late requests keep others from being in time.
"""

from dataclasses import dataclass
from typing import Annotated

from annotated_doc import Doc

from bros_sim.core.request import ServiceClass
from bros_sim.core.world import World
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.ordered.scheduler import OrderedParameters, OrderedScheduler
from bros_sim.schedulers.queues import Rank


def next_due_s(seq: SequenceView) -> float:
    """When the next token of a request is due; infinity when nothing binds it."""
    slo, arrival_s = seq.slo, seq.arrival_s
    return min(slo.deadline(arrival_s, seq.num_output + 1), slo.last_deadline(arrival_s))


@dataclass(frozen=True)
class EdfParameters(OrderedParameters):
    """Earliest deadline of the next token first."""

    preempts_be: Annotated[
        bool, Doc("a waiting real-time request takes seat and memory of best-effort ones")
    ] = False

    @property
    def mirrors(self) -> str:
        return "earliest deadline first (textbook)"

    def make(self, world: World) -> "EdfScheduler":
        return EdfScheduler(self)


class EdfScheduler(OrderedScheduler):
    """The loop in order of deadlines."""

    def __init__(self, parameters: EdfParameters) -> None:
        super().__init__(parameters)
        self.preempts_be = parameters.preempts_be

    def rank(self, seq: SequenceView, now: float) -> Rank:
        """The next deadline; without any, by class."""
        return (next_due_s(seq), seq.priority)

    def may_evict(self, victim: SequenceView, taker: SequenceView, now: float) -> bool:
        """Best-effort requests give way to real-time ones."""
        real_time = taker.service_class is ServiceClass.RT
        return self.preempts_be and real_time and victim.service_class is ServiceClass.BE
