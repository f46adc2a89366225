"""BROS (arXiv 2504.09590): dynamic priority by residual time for RT and BE requests."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from bros_sim.engine.scheduler import Plan, ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.bros.algorithm import Algorithm1
from bros_sim.schedulers.bros.batch import NextBatch
from bros_sim.schedulers.bros.grouped import GroupedAlgorithm1
from bros_sim.schedulers.bros.queues import BrosQueues
from bros_sim.schedulers.parameters import steady_steps

if TYPE_CHECKING:
    from bros_sim.schedulers.bros.parameters import BrosParameters


class BrosScheduler:
    """BROS: RT by residual time, BE into what is left, whole prompts, no output prediction."""

    def __init__(self, parameters: "BrosParameters") -> None:
        self.overhead_share = parameters.overhead_share
        self._parameters = parameters
        self._queues = BrosQueues(per_token=parameters.tpot_mode == "per_token")
        self._cap = parameters.batch_cap
        self._grows = True
        self._avg_s = 0.0

    def set_true_length(self, seq: SequenceView, output_tokens: int) -> None:
        pass

    def submit(self, seq: SequenceView) -> None:
        self._queues.wait(seq)

    def finished(self, seq: SequenceView) -> None:
        self._queues.finish(seq)

    def waiting_seqs(self) -> Iterable[SequenceView]:
        yield from (seq for *_, seq in self._queues.rt_waiting)
        yield from (seq for _, seq in self._queues.be_waiting)

    def plan(self, view: ReplicaView) -> Plan:
        self._catch_up(view)
        chosen = GroupedAlgorithm1(view, self._queues, self._parameters, self._cap, self._avg_s)
        chosen.choose()
        return self._decide(chosen)

    def _decide(self, chosen: Algorithm1) -> Plan:
        batch, queues = chosen.batch, self._queues
        for seq in batch.evicted:
            queues.finish(seq)
            queues.wait(seq)
        if batch.chunks:
            queues.resume(batch.selected)
        for seq, _ in batch.admitted:
            queues.admit(seq)
        gone = {seq.id for seq in batch.evicted}
        paused = () if batch.whole else queues.pause(batch.view, batch.selected.keys() | gone)
        steady = batch.whole and not (batch.chunks or batch.evicted)
        self._grows = chosen.grows()
        cap = 2 * self._cap if self._grows else self._parameters.batch_cap
        self._cap = min(cap, self._parameters.batch_cap_max)
        return Plan(
            tuple(batch.chunks),
            tuple(batch.admitted),
            tuple(batch.evicted),
            paused,
            self._repeat(batch) if steady else 1,
            notes=chosen.notes.all(paused) if batch.view.explain else (),
        )

    def _repeat(self, batch: NextBatch) -> int:
        """Iterations in which nobody left out can come in: memory and time only get shorter.

        The cap alone could change by itself, so it must not be what keeps someone out.
        """
        over_cap = batch.size > self._parameters.batch_cap
        if over_cap or batch.estimate.noise or batch.unserved:
            return 1
        if batch.left_out and (self._queues.rt_waiting or self._queues.rt_pending):
            return 1
        return steady_steps(batch.estimate, batch.decodes, batch.kv_tokens, batch.bound_s)

    def _catch_up(self, view: ReplicaView) -> None:
        """Average the iterations since the last plan, and grow the cap for all but the first."""
        weight, most = 1.0 - self._parameters.smoothing, self._parameters.batch_cap_max
        for i, seconds in enumerate(view.last_durations_s):
            self._avg_s += weight * (seconds - self._avg_s)
            if i and self._grows and self._cap < most:
                self._cap = min(2 * self._cap, most)
