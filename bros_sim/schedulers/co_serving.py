"""Online first, offline into what is left: the loop that HyGen and ConServe share.

Real-time (online) requests come first, in order of arrival: all their decodes, then their prompts,
cut to the token budget. Best-effort (offline) ones get what is left of the tokens and of the time
that the iteration may take by the policy's own estimate: decodes that have no room keep their KV
and pause, prompts are cut. An online request that lacks a seat or memory evicts offline ones.

ConServe (arXiv 2410.01228v2, ICML 2026), as far as iterations that cannot be cut allow.

Read in digests of the paper; its code (on vLLM 0.8.4) is not public. Goes with the KV manager
``eager_checkpoint``, which saves and prefetches offline KV as ConServe does.

Exact as far as the digests go: online requests first; offline tokens, decodes or parts of prompts,
while the iteration's predicted time, which knows the tokens computed and the context they attend
to, stays within the online TBT (TPOT) target; without online requests batches are made for
throughput; online requests that lack memory take it from offline ones, which go on from what was
saved.

Gaps, hence ``conserve_like``:
- No safepoints. ConServe checks every few layers whether an online arrival would miss its TTFT, and
  then drops the rest of an offline batch within some 13 ms. Here KV is committed when an iteration
  starts. Instead one without online requests takes at most ``offline_ttft_share`` of the tightest
  TTFT target seen so far: that costs some throughput, and wastes no work.
- The TBT target is the tightest TPOT target of the online requests at hand, the same for all.
- The predictor is `ReplicaView.estimate`, not the paper's polynomial; the prefetch is not in it.
- Offline requests in order of arrival, the last one preempted first (inferred).
"""

import math
from bisect import bisect_right
from collections import abc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate, chain, islice, takewhile
from typing import Annotated

from annotated_doc import Doc
from annotated_types import Gt, Le

from bros_sim.core.request import ServiceClass
from bros_sim.engine.reasons import BUDGET, DEADLINE, Note
from bros_sim.engine.scheduler import UNTIL_EVENT, ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.ordered.policy import Chunk, Rank, Step, shape_of
from bros_sim.schedulers.ordered.scheduler import OrderedParameters, OrderedScheduler
from bros_sim.schedulers.parameters import steady_steps

RT = ServiceClass.RT


class CoServingScheduler(OrderedScheduler):
    """The two phases; a policy says how long an iteration may take (`bound_s`)."""

    timeless = False

    def __init__(self, parameters: OrderedParameters) -> None:
        super().__init__(parameters)
        self._bound_s = math.inf
        self._online: tuple[Chunk, ...] = ()  # what online prompts compute in the coming iteration

    def bound_s(self) -> float:
        """Seconds that an iteration with offline requests may take; changes only with events."""
        raise NotImplementedError

    def rank(self, seq: SequenceView, now: float) -> Rank:
        """Online before offline; of each those that run before those that wait, by arrival."""
        return (seq.priority, not self.runs(seq))

    def may_evict(self, victim: SequenceView, taker: SequenceView, now: float) -> bool:
        return victim.priority > taker.priority

    def begin(self, view: ReplicaView) -> None:
        self._bound_s = self.bound_s()
        self._online = tuple(self._online_chunks(view))

    def _online_chunks(self, view: ReplicaView) -> Iterator[Chunk]:
        """Of prompts under way, then of those that wait and for whom there is a seat."""
        outside = sorted(self.batch.outside.values(), key=lambda seq: seq.id)
        under_way = (seq for seq in outside if seq.service_class is RT)
        waiting = takewhile(lambda seq: seq.service_class is RT, self._waiting)
        seats = max(self.max_num_seqs - self.batch.by_class[0], 0)
        left = self.token_limit - view.decodes_by_class[0]
        for seq in chain(under_way, islice(waiting, seats)):
            if left <= 0:
                return
            context = self._context(seq, view)
            tokens = min(seq.num_tokens - context, left)
            yield tokens, context
            left -= tokens

    def _context(self, seq: SequenceView, view: ReplicaView) -> int:
        """Tokens of a request that are, or would be found, in the cache."""
        kv = view.kv
        return seq.num_computed if self.runs(seq) else len(kv.lookup(seq)) * kv.block_size

    def pauses(self, view: ReplicaView) -> abc.Sequence[Note]:
        """Offline decodes that have no room beside the online phase, the last in order."""
        seqs, kv_tokens = view.decodes_by_class[1], view.decode_kv_by_class[1]
        room = self.token_limit - view.decodes_by_class[0] - sum(n for n, _ in self._online)
        if not seqs or (seqs <= room and self._seconds(view, seqs, kv_tokens) <= self._bound_s):
            return ()
        offline = [x for x in view.batch if x.decoding and x.service_class is not RT]
        offline.sort(key=lambda seq: (self.rank(seq, view.now), seq.id))
        totals = list(accumulate(seq.num_computed + 1 for seq in offline))
        fit = bisect_right(
            range(min(seqs, max(room, 0))),
            self._bound_s,
            key=lambda i: self._seconds(view, i + 1, totals[i]),
        )
        if fit >= room:
            return [Note(seq, BUDGET, None, 1, 0) for seq in offline[fit:]]
        late = self._seconds(view, fit + 1, totals[fit])
        return [Note(seq, DEADLINE, None, late, self._bound_s) for seq in offline[fit:]]

    def _seconds(self, view: ReplicaView, seqs: int, kv_tokens: int) -> float:
        """Predicted time of the online phase and so many offline decodes."""
        online, online_kv = view.decodes_by_class[0], view.decode_kv_by_class[0]
        return view.estimate.step_s(shape_of(self._online, online + seqs, online_kv + kv_tokens))

    def grant(self, seq: SequenceView, tokens: int, step: Step) -> int:
        """An online prompt gets all that the budget allows, an offline one what is in time."""
        if seq.service_class is RT or math.isinf(self._bound_s):
            return tokens
        return bisect_right(range(1, tokens + 1), self._bound_s, key=self._with(seq, step))

    def why_not(self, seq: SequenceView, tokens: int, step: Step) -> Note:
        if seq.service_class is RT or step.budget <= 0:
            return step.lacks_budget(seq, tokens)
        return Note(seq, DEADLINE, None, self._with(seq, step)(1), self._bound_s)

    def _with(self, seq: SequenceView, step: Step) -> Callable[[int], float]:
        """Predicted seconds of the step with so many tokens of a request outside the cohort."""
        cached = dict(step.admitted)
        chunks = [(n, cached.get(x, x.num_computed)) for x, n in step.chunks]
        context, kv_tokens = self._context(seq, step.view), step.decode_kv

        def seconds(tokens: int) -> float:
            shape = shape_of([*chunks, (tokens, context)], step.decodes, kv_tokens)
            return step.view.estimate.step_s(shape)

        return seconds

    def lasts(self, view: ReplicaView) -> int:
        if view.estimate.noise:
            return 1
        if math.isinf(self._bound_s) or not view.decodes_by_class[1]:
            return UNTIL_EVENT
        kv_tokens = sum(view.decode_kv_by_class)
        return steady_steps(view.estimate, view.num_decodes, kv_tokens, self._bound_s)


class ConserveLikeScheduler(CoServingScheduler):
    """Online first, offline within the tightest TBT target at hand."""

    parameters: "ConserveLikeParameters"

    def __init__(self, parameters: "ConserveLikeParameters") -> None:
        super().__init__(parameters)
        self._targets: dict[int, float] = {}  # TPOT of online requests that wait or run
        self._tightest_ttft_s = math.inf

    def bound_s(self) -> float:
        """The online TBT target, or what an online request that arrives in the meantime bears."""
        if self._targets:
            return min(self._targets.values())
        return self.parameters.offline_ttft_share * self._tightest_ttft_s

    def submit(self, seq: SequenceView) -> bool | None:
        if seq.service_class is ServiceClass.RT:
            self._targets[seq.id] = seq.slo.pace_s
            if seq.slo.ttft_s is not None:
                self._tightest_ttft_s = min(self._tightest_ttft_s, seq.slo.ttft_s)
        return super().submit(seq)

    def finished(self, seq: SequenceView) -> None:
        super().finished(seq)
        self._targets.pop(seq.id, None)


@dataclass(frozen=True)
class ConserveLikeParameters(OrderedParameters):
    """ConServe without layer-wise preemption: offline tokens within the online TBT target."""

    makes = ConserveLikeScheduler
    fidelity = "like"
    mirrors = "ConServe (arXiv 2410.01228v2), from digests, without layer-wise preemption"

    offline_ttft_share: Annotated[
        float,
        Gt(0),
        Le(1),
        Doc("longest iteration without online requests, in tightest TTFT targets (inferred)"),
    ] = 0.5
