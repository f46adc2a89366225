"""The idea of SLOs-Serve: promise what can be kept, serve the rest as best effort (2504.08784v1).

Known from the abstract, notes on the text and a public copy of the authors' planner; the paper
itself was not at hand, hence ``_like``.

After those: whenever requests have arrived, a dynamic programme (`most_in_time`) decides whom to
promise their SLO: as many as the prompt tokens can be computed for by each deadline, beside all
decodes promised, in iterations no longer than the tightest TPOT. Who was promised stays so. Who
cannot be is best effort for good, as are requests without TTFT. An iteration gives promised decodes
their token, then prompts of the promised by deadline, as many tokens as fit into the tightest TPOT
of the promised that decode and into the time until the first of the prompts is due. Best effort
gets what that leaves: it pauses for time, and loses its KV for seats and memory.

Gaps:
- One pace for all, the tightest TPOT; the paper's programme counts requests of each TPOT tier, and
  lets looser tiers skip iterations. All requests count the same.
- Memory is kept for ``max_tokens`` of each promised request; the authors plan with known lengths.
  The programme asks for memory in one state for each count, so it may miss the optimum there.
- A promised request is planned to decode until it ends, which is not foreseen.
- No speculative decoding, no stages beyond prompt and decode, no routing of who is declined to
  another replica. Promises are not taken back when they turn out late.
- Prefix hits are not foreseen. How much best effort runs beside the promised is our reading.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from bros_sim.engine.reasons import DEADLINE, Note
from bros_sim.engine.scheduler import UNTIL_EVENT, Plan, ReplicaView
from bros_sim.engine.sequence import JobView
from bros_sim.schedulers.ordered.scheduler import OrderedScheduler
from bros_sim.schedulers.ordered.step import Step
from bros_sim.schedulers.queues import Rank
from bros_sim.schedulers.slos_serve.pace import Pace
from bros_sim.schedulers.slos_serve.promises import attainable, due_s, tpot_s


@dataclass
class SlosServeLikeScheduler(OrderedScheduler):
    """After SLOs-Serve: promises by a dynamic programme, best effort in what they leave."""

    _promised: dict[int, JobView] = field(init=False, default_factory=dict)
    _arrived: list[JobView] = field(init=False, default_factory=list)
    _lacking: list[JobView] = field(init=False, default_factory=list)
    """The promised without a token."""
    _first: JobView | None = field(init=False, default=None)
    """The one of them that is due first."""
    _bounds: Counter[float] = field(init=False, default_factory=Counter)
    """TPOT of the promised that decode."""
    _bounding: dict[int, float] = field(init=False, default_factory=dict)
    _pace: Pace = field(init=False, repr=False)

    @property
    def mirrors(self) -> str:
        """What this policy follows."""
        return "the idea of SLOs-Serve (arXiv 2504.08784v1), gaps in its docstring"

    def rank(self, job: JobView, now: float) -> Rank:  # noqa: ARG002
        """The promised by deadline, then best effort by arrival."""
        return (0.0, due_s(job)) if job.id in self._promised else (1.0, 0.0)

    def may_evict(self, victim: JobView, taker: JobView, now: float) -> bool:  # noqa: ARG002
        """Best effort gives way to the promised."""
        return taker.id in self._promised and victim.id not in self._promised

    def pauses(self, view: ReplicaView) -> Sequence[Note]:  # noqa: ARG002
        """Best-effort decodes beside which the promised are late, the latest arrival first."""
        seconds, limit_s = self._pace.late()
        if seconds <= limit_s:
            return ()
        running = self._running.values()
        givers = [job for job in running if job.decoding and job.id not in self._promised]
        givers.sort(key=lambda job: -job.id)
        return [Note(job, DEADLINE, None, seconds, limit_s) for job in self._pace.too_many(givers)]

    def grant(self, job: JobView, tokens: int, step: Step) -> int:
        """As many as keep the iteration in time for those who are served before."""
        return self._pace.tokens_beside(step, job, tokens, self._limit_s(job, step))

    def why_not(self, job: JobView, tokens: int, step: Step) -> Note:
        """No tokens are left, or no time."""
        if step.budget <= 0:
            return step.lacks_budget(job, tokens)
        limit_s = self._limit_s(job, step)
        return Note(job, DEADLINE, None, self._pace.with_s(step, job, 1), limit_s)

    def lasts(self, view: ReplicaView) -> int:  # noqa: ARG002
        """Time binds nobody while only the promised compute, or nothing is promised."""
        bound = self._pace.prompts or not math.isinf(self._pace.bound_s)
        others = self._waiting or self._outside or len(self._running) > len(self._bounding)
        return 1 if bound and others else UNTIL_EVENT

    def _limit_s(self, job: JobView, step: Step) -> float:
        """Nobody must make decodes late, nor the prompt that is due first, if it is in time yet."""
        pace = self._pace
        in_vain = job.id in self._promised and pace.so_far_s(step) > pace.slack_s
        if job is self._first or in_vain:
            return pace.bound_s
        return min(pace.bound_s, pace.slack_s)

    def submit(self, job: JobView) -> None:
        """Best effort until `begin` has found out what can be promised."""
        self._arrived.append(job)
        super().submit(job)

    def finished(self, job: JobView) -> None:
        """See `Scheduler.finished`."""
        self._promised.pop(job.id, None)
        self._unbind(job)
        super().finished(job)

    def begin(self, view: ReplicaView) -> None:
        """Promises to who arrived, and the pace of the iteration."""
        if self._arrived:
            promised, limits = self._promised.values(), (self.token_limit, self.max_num_seqs)
            chosen = attainable(self._arrived, promised, view, *limits)
            self._promised.update((job.id, job) for job in chosen)
            self._lacking += chosen
            self._arrived.clear()
            self.rerank(view.now)
        self._lacking = [job for job in self._lacking if not job.num_output]
        prompts = [(job.num_tokens - job.num_computed, job.num_computed) for job in self._lacking]
        bound_s = min((tpot for tpot, jobs in self._bounds.items() if jobs), default=math.inf)
        self._first = min(self._lacking, key=lambda job: (due_s(job), job.id), default=None)
        slack_s = due_s(self._first) - view.now if self._first else math.inf
        self._pace = Pace(view, bound_s, prompts, slack_s)

    def settle(self, plan: Plan, view: ReplicaView) -> None:  # noqa: ARG002
        """Who decodes from now on, and whose TPOT binds for it."""
        for job in plan.evicted:
            self._unbind(job)
        for job, _ in plan.chunks:
            if job.id in self._promised and job.id not in self._outside:
                self._bounding[job.id] = tpot_s(job)
                self._bounds[tpot_s(job)] += 1

    def _unbind(self, job: JobView) -> None:
        if bound_s := self._bounding.pop(job.id, None):
            self._bounds[bound_s] -= 1
