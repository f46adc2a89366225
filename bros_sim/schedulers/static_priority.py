"""Static priority with a reserve: real-time first, and a share that best-effort leaves free.

Waiting requests and prompts are served real-time first, then by arrival; decodes of both classes
run in every iteration. Best-effort requests never take the last ``reserved_seats`` of the seats,
and join only while ``reserved_blocks`` of all KV blocks stay free (what runs already may grow into
them), so a real-time request finds room without a preemption; where memory is short all the same,
the latest arrival of best-effort is recomputed first. With ``preempts_be`` a waiting real-time
request also takes a best-effort one's seat or memory.

What operators do by hand; vLLM's priority policy has no reserve. No published system is mirrored.
"""

from dataclasses import dataclass
from typing import Annotated

from annotated_doc import Doc

from bros_sim.core.request import ServiceClass
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.deadlines import PreemptsBe
from bros_sim.schedulers.ordered.policy import Step
from bros_sim.schedulers.ordered.scheduler import OrderedParameters, OrderedScheduler
from bros_sim.schedulers.parameters import Share
from bros_sim.schedulers.queues import Rank

BE = ServiceClass.BE


class StaticPriorityScheduler(OrderedScheduler):
    """The loop in order of class."""

    parameters: "StaticPriorityParameters"

    def rank(self, seq: SequenceView, now: float) -> Rank:
        return (seq.priority,)

    def has_seat(self, seq: SequenceView, step: Step) -> bool:
        """Best-effort leaves the reserve, whoever sits in it."""
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
