"""BROS (arXiv 2504.09590): dynamic priority by residual time for RT and BE requests.

Algorithm 1 as docs/paper-map.md reconstructs it: real-time requests by ascending residual time
while the predicted iteration keeps the tightest deadline, then best-effort requests by the KV they
must have restored, then best-effort in place of the real-time request with the most slack; the
batch cap grows while no deadline binds. Which line is stated and which inferred is listed there.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from bros_sim.engine.scheduler import Plan, ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.bros.batch import Batch
from bros_sim.schedulers.bros.memory import BrosMemory
from bros_sim.schedulers.bros.notes import BrosNotes
from bros_sim.schedulers.bros.offers import Offers, Rules
from bros_sim.schedulers.bros.queues import BE, RT, BrosQueues
from bros_sim.schedulers.bros.replacement import replace, replaceable
from bros_sim.schedulers.bros.selection import Selection

if TYPE_CHECKING:
    from bros_sim.schedulers.bros.parameters import BrosParameters

LONGEST_LOOKAHEAD = 4096
"""Iterations ahead for which a steady batch is judged at once; bounds work, changes no result."""


class BrosScheduler:
    """BROS: RT by residual time, BE into what is left, whole prompts, no output prediction."""

    def __init__(self, parameters: "BrosParameters") -> None:
        self.batch_cap = parameters.batch_cap
        self.batch_cap_max = parameters.batch_cap_max
        self.cap_reset = parameters.cap_reset
        self.replacement = parameters.replacement
        self.smoothing = parameters.smoothing
        self.late_policy = parameters.late_policy
        self.be_bound = parameters.be_bound
        self.tpot_mode = parameters.tpot_mode
        self.watermark = parameters.watermark
        self.shortage = parameters.shortage
        self.victims = parameters.victims
        self.overhead_share = parameters.overhead_share
        self._queues = BrosQueues(per_token=self.tpot_mode == "per_token")
        self._cap = self.batch_cap
        self._grows = True
        self._tau_s = 0.0

    def set_true_length(self, seq: SequenceView, output_tokens: int) -> None:
        pass

    def submit(self, seq: SequenceView) -> None:
        """See `Scheduler.submit`."""
        self._queues.wait(seq)

    def finished(self, seq: SequenceView) -> None:
        """See `Scheduler.finished`."""
        self._queues.finish(seq)

    def running_seqs(self) -> Iterable[SequenceView]:
        """Requests with KV, in the batch or pending: RT, then BE."""
        return (*self._queues.running[RT].values(), *self._queues.running[BE].values())

    def waiting_seqs(self) -> Iterable[SequenceView]:
        """RT by deadline, then BE by arrival."""
        yield from (seq for *_, seq in self._queues.rt_waiting)
        yield from (seq for _, seq in self._queues.be_waiting)

    # -- planning -------------------------------------------------------------------------------

    def plan(self, view: ReplicaView) -> Plan:
        """Algorithm 1 for the next iteration."""
        self._catch_up(view)
        mark = view.kv.mark()
        chosen = self._selection(view)
        if not chosen.everybody():
            view.kv.rollback(mark)
            chosen = self._selection(view)
            chosen.one_by_one()
        swaps = replaceable(chosen, self._tau_s)
        if swaps:
            view.kv.rollback(mark)
            full, chosen = chosen, self._selection(view)
            replace(full, swaps, self._tau_s, chosen)
        plan = self._decide(chosen)
        self._adapt_cap(chosen)
        return plan

    def _selection(self, view: ReplicaView) -> Selection:
        queues, batch = self._queues, Batch(view, self._cap)
        notes = BrosNotes(batch, queues, view.explain)
        held = queues.running[RT] or queues.running[BE]
        memory = BrosMemory(
            queues,
            batch,
            notes,
            spare=int(self.watermark * view.kv.num_gpu_blocks) if held else 0,
            swap=self.shortage == "swap",
            any_newest=self.victims == "any_newest" and not view.kv.can_lend,
        )
        return Selection(queues, batch, Offers(queues, batch, memory, notes, self._rules))

    @property
    def _rules(self) -> Rules:
        return Rules(
            demote=self.late_policy == "demote",
            be_keeps_all_rt=self.be_bound == "all_rt",
            be_resets_cap=self.cap_reset == "anyone",
            rt_first=self.replacement == "rt_first",
        )

    def _decide(self, chosen: Selection) -> Plan:
        """Write the queues and the plan."""
        batch, queues = chosen.batch, self._queues
        for seq in batch.evicted:
            queues.evict(seq)
        if batch.chunks:
            queues.resume(batch.selected)
        for seq, _ in batch.admitted:
            queues.admit(seq)
        paused = () if chosen.whole else queues.pause(batch.selected, batch.view.now)
        steady = chosen.whole and not (batch.chunks or batch.evicted)
        return Plan(
            tuple(batch.chunks),
            tuple(batch.admitted),
            tuple(batch.evicted),
            paused,
            self._repeat(chosen) if steady else 1,
            notes=chosen.offers.notes.all(paused) if batch.view.explain else (),
        )

    def _repeat(self, chosen: Selection) -> int:
        """Iterations for which the answer stays: nobody left out can come in before an event.

        Memory only gets shorter and iterations only get longer while the cohort decodes; the cap
        alone could change by itself, so it must not be what keeps someone out.
        """
        batch = chosen.batch
        if batch.estimate.noise or batch.size > self.batch_cap or chosen.offers.unserved:
            return 1
        if chosen.offers.left_out and (self._queues.rt_waiting or self._queues.rt_pending):
            return 1
        return batch.iterations_within_bound(LONGEST_LOOKAHEAD)

    # -- what the policy remembers --------------------------------------------------------------

    def _catch_up(self, view: ReplicaView) -> None:
        """Average the iterations since the last plan, and grow the cap for all but the first."""
        for i, seconds in enumerate(view.last_durations_s):
            self._tau_s += (1.0 - self.smoothing) * (seconds - self._tau_s)
            if i and self._grows and self._cap < self.batch_cap_max:
                self._cap = min(2 * self._cap, self.batch_cap_max)

    def _adapt_cap(self, chosen: Selection) -> None:
        """Double while no deadline binds, start over when one does ("like TCP")."""
        self._grows = not (self._queues.running[RT] and chosen.offers.bound_hit)
        cap = 2 * self._cap if self._grows else self.batch_cap
        self._cap = min(cap, self.batch_cap_max)
