"""BROS (arXiv 2504.09590): dynamic priority by residual time for RT and BE requests.

Algorithm 1 as docs/paper-map.md reconstructs it: real-time requests by ascending residual time
while the predicted iteration keeps the tightest deadline, then best-effort requests by the KV they
must have restored, then best-effort in place of the real-time request with the most slack; the
batch cap grows while no deadline binds. Which line is stated and which inferred is listed there.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_doc import Doc
from annotated_types import Ge, Lt

from bros_sim.engine.scheduler import Plan, ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.bros.algorithm import Algorithm1
from bros_sim.schedulers.bros.batch import Batch
from bros_sim.schedulers.bros.grouped import GroupedAlgorithm1
from bros_sim.schedulers.bros.queues import BE, RT, BrosQueues
from bros_sim.schedulers.bros.rules import Rules

LONGEST_LOOKAHEAD = 4096
"""Iterations ahead for which a steady batch is judged at once; bounds work, changes no result."""


@dataclass
class BrosScheduler:
    """BROS: RT by residual time, BE into what is left, whole prompts, no output prediction."""

    batch_cap: Annotated[int, Ge(1), Doc("batch cap to start from, and after a deadline bound")] = (
        128
    )
    batch_cap_max: Annotated[int, Ge(1), Doc("where the doubling of the cap ends")] = 1024
    cap_reset: Annotated[
        Literal["anyone", "rt"],
        Doc("whose being left out for a deadline starts the cap over: anyone's, or RT's alone"),
    ] = "anyone"
    replacement: Annotated[
        Literal["always", "rt_first"],
        Doc("when BE may take the place of RT with slack: always, or not while the cap bars RT"),
    ] = "always"
    smoothing: Annotated[
        float, Ge(0), Lt(1), Doc("weight of the past in the moving average of iteration time")
    ] = 0.9
    late_policy: Annotated[
        Literal["serve_first", "demote"],
        Doc("RT that cannot be in time: in order of residual time, or after all that can"),
    ] = "serve_first"
    be_bound: Annotated[
        Literal["batch", "all_rt"],
        Doc("whose deadlines BE keep: of RT in the batch, or also of RT put off that can be saved"),
    ] = "batch"
    tpot_mode: Annotated[
        Literal["per_token", "cumulative"],
        Doc("next token due a TPOT after the last one, or TTFT + k TPOT after arrival"),
    ] = "per_token"
    watermark: Annotated[
        float, Ge(0), Lt(1), Doc("share of all KV blocks that waiting BE leave free")
    ] = 0.01
    shortage: Annotated[
        Literal["recompute", "swap"],
        Doc("what happens to the BE ranked last when another BE lacks memory"),
    ] = "recompute"
    victims: Annotated[
        Literal["be_only", "any_newest"],
        Doc("who is recomputed for RT where the KV manager cannot lend BE's blocks"),
    ] = "be_only"
    overhead_share: Annotated[
        float, Ge(0), Lt(1), Doc("share of every iteration that scheduling takes")
    ] = 0.08
    _queues: BrosQueues = field(init=False)
    _cap: int = field(init=False)
    _grows: bool = field(init=False, default=True)
    _mean_s: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._cap = self.batch_cap
        self._queues = BrosQueues(per_token=self.tpot_mode == "per_token")

    @property
    def mirrors(self) -> str:
        """What this policy follows."""
        return "BROS (arXiv 2504.09590v1), reconstructed: docs/paper-map.md"

    def refuses(self, max_model_len: int) -> str | None:  # noqa: ARG002
        """Prompts are never cut, so any model can be served."""
        if self.batch_cap > self.batch_cap_max:
            return f"batch_cap {self.batch_cap} is over batch_cap_max {self.batch_cap_max}"
        return None

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
        chosen = GroupedAlgorithm1(view, self._queues, self._rules, self._cap, self._mean_s)
        chosen.choose()
        return self._decide(chosen)

    @property
    def _rules(self) -> Rules:
        return Rules(
            self.cap_reset,
            self.replacement,
            self.late_policy,
            self.be_bound,
            self.watermark,
            self.shortage,
            self.victims,
        )

    def _decide(self, chosen: Algorithm1) -> Plan:
        """Write the queues, the cap of the next batch, and the plan."""
        batch, queues = chosen.batch, self._queues
        for seq in batch.evicted:
            queues.evict(seq)
        if batch.chunks:
            queues.resume(batch.selected)
        for seq, _ in batch.admitted:
            queues.admit(seq)
        paused = () if batch.whole else queues.pause(batch.selected, batch.view.now)
        steady = batch.whole and not (batch.chunks or batch.evicted)
        self._grows = chosen.grows()
        self._cap = min(2 * self._cap if self._grows else self.batch_cap, self.batch_cap_max)
        return Plan(
            tuple(batch.chunks),
            tuple(batch.admitted),
            tuple(batch.evicted),
            paused,
            self._repeat(batch) if steady else 1,
            notes=chosen.notes.all(paused) if batch.view.explain else (),
        )

    def _repeat(self, batch: Batch) -> int:
        """Iterations for which the answer stays: nobody left out can come in before an event.

        Memory only gets shorter and iterations only get longer while the cohort decodes; the cap
        alone could change by itself, so it must not be what keeps someone out.
        """
        if batch.estimate.noise or batch.size > self.batch_cap or batch.unserved:
            return 1
        if batch.left_out and (self._queues.rt_waiting or self._queues.rt_pending):
            return 1
        return batch.iterations_within_bound(LONGEST_LOOKAHEAD)

    # -- what the policy remembers --------------------------------------------------------------

    def _catch_up(self, view: ReplicaView) -> None:
        """Average the iterations since the last plan, and grow the cap for all but the first."""
        for i, seconds in enumerate(view.last_durations_s):
            self._mean_s += (1.0 - self.smoothing) * (seconds - self._mean_s)
            if i and self._grows and self._cap < self.batch_cap_max:
                self._cap = min(2 * self._cap, self.batch_cap_max)
