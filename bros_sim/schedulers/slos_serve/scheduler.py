"""The idea of SLOs-Serve: promise what can be kept, serve the rest as best effort (2504.08784v1).

Known from the abstract, notes on the text and a public copy of the authors' planner; the paper
itself was not at hand, hence ``_like``.

After those: whenever requests have arrived, a dynamic programme (`most_in_time`) decides whom to
promise their SLO: as many as the prompt tokens can be computed for by each deadline, beside all
decodes promised, in iterations no longer than the tightest TPOT. Promises stand. Who gets none is
best effort for good, as are requests without TTFT. An iteration gives promised decodes their token,
then prompts of the promised by deadline, as many tokens as fit into the tightest TPOT of the
promised that decode and into the time until the first of the prompts is due. Best effort gets what
that leaves: it pauses for time, and loses its KV for seats and memory.

Gaps:
- One pace for all, the tightest TPOT; the paper's programme counts requests of each TPOT tier, and
  lets looser tiers skip iterations. All requests count the same.
- Memory is kept for ``max_tokens`` of each promised request; the authors plan with known lengths.
- A promised request is planned to decode until it ends, which is not foreseen.
- No speculative decoding, no stages beyond prompt and decode, no routing of who is declined to
  another replica. Promises are not taken back when they turn out late.
- Prefix hits are not foreseen. How much best effort runs beside the promised is our reading.
"""

import math
from collections import abc
from dataclasses import dataclass

from bros_sim.engine.reasons import DEADLINE, Note
from bros_sim.engine.scheduler import UNTIL_EVENT, Plan, ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.ordered.policy import Step, completed
from bros_sim.schedulers.ordered.scheduler import OrderedParameters, OrderedScheduler
from bros_sim.schedulers.queues import Rank
from bros_sim.schedulers.slos_serve.promises import Pace, attainable, due_s


class SlosServeLikeScheduler(OrderedScheduler):
    """Who is promised, and the pace that this sets."""

    _pace: Pace

    def __init__(self, parameters: "SlosServeLikeParameters") -> None:
        super().__init__(parameters)
        self._promised: dict[int, SequenceView] = {}
        self._arrived: list[SequenceView] = []
        self._lacking: list[SequenceView] = []  # the promised without a token
        self._first: SequenceView | None = None  # the one of them that is due first
        self._bounding: dict[int, float] = {}  # TPOT of the promised that decode

    def rank(self, seq: SequenceView, now: float) -> Rank:
        return (0.0, due_s(seq)) if seq.id in self._promised else (1.0, 0.0)

    def may_evict(self, victim: SequenceView, taker: SequenceView, now: float) -> bool:
        return taker.id in self._promised and victim.id not in self._promised

    def pauses(self, view: ReplicaView) -> abc.Sequence[Note]:
        """Best-effort decodes beside which the promised are late, the latest arrival first."""
        seconds, limit_s = self._pace.late(view.num_decodes, sum(view.decode_kv_by_class))
        if seconds <= limit_s:
            return ()
        givers = [seq for seq in view.batch if seq.decoding and seq.id not in self._promised]
        givers.sort(key=lambda seq: -seq.id)
        return [Note(seq, DEADLINE, None, seconds, limit_s) for seq in self._pace.too_many(givers)]

    def grant(self, seq: SequenceView, tokens: int, step: Step) -> int:
        return self._pace.tokens_beside(step, seq, tokens, self._limit_s(seq, step))

    def why_not(self, seq: SequenceView, tokens: int, step: Step) -> Note:
        if step.budget <= 0:
            return step.lacks_budget(seq, tokens)
        limit_s = self._limit_s(seq, step)
        return Note(seq, DEADLINE, None, self._pace.with_s(step, (1, seq.num_computed)), limit_s)

    def lasts(self, view: ReplicaView) -> int:
        """Time binds nobody while only the promised compute, or nothing is promised."""
        bound = self._pace.prompts or not math.isinf(self._pace.bound_s)
        others = self._waiting or view.batch.outside or len(view.batch) > len(self._bounding)
        return 1 if bound and others else UNTIL_EVENT

    def _limit_s(self, seq: SequenceView, step: Step) -> float:
        """Nobody must make decodes late, nor the prompt that is due first, if it is in time yet."""
        pace = self._pace
        in_vain = seq.id in self._promised and pace.with_s(step) > pace.slack_s
        if seq is self._first or in_vain:
            return pace.bound_s
        return min(pace.bound_s, pace.slack_s)

    def submit(self, seq: SequenceView) -> None:
        self._arrived.append(seq)
        super().submit(seq)

    def finished(self, seq: SequenceView) -> None:
        self._promised.pop(seq.id, None)
        self._bounding.pop(seq.id, None)
        super().finished(seq)

    def begin(self, view: ReplicaView) -> None:
        if self._arrived:
            promised, limits = self._promised.values(), (self.token_limit, self.max_num_seqs)
            chosen = attainable(self._arrived, promised, view, *limits)
            self._promised.update((seq.id, seq) for seq in chosen)
            self._lacking += chosen
            self._arrived.clear()
            self.rerank(view.now)
        self._lacking = [seq for seq in self._lacking if not seq.num_output]
        prompts = [(seq.num_tokens - seq.num_computed, seq.num_computed) for seq in self._lacking]
        bound_s = min(self._bounding.values(), default=math.inf)
        self._first = min(self._lacking, key=lambda seq: (due_s(seq), seq.id), default=None)
        slack_s = due_s(self._first) - view.now if self._first else math.inf
        self._pace = Pace(view, bound_s, prompts, slack_s)

    def settle(self, plan: Plan, view: ReplicaView) -> None:
        for seq in plan.evicted:
            self._bounding.pop(seq.id, None)
        for seq in completed(plan):
            if seq.id in self._promised:
                self._bounding[seq.id] = seq.slo.pace_s


@dataclass(frozen=True)
class SlosServeLikeParameters(OrderedParameters):
    """After SLOs-Serve: promises by a dynamic programme, best effort in what they leave."""

    makes = SlosServeLikeScheduler
    fidelity = "like"
    mirrors = "the idea of SLOs-Serve (arXiv 2504.08784v1), gaps in its docstring"
