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
from bisect import bisect_right
from collections import abc
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import NamedTuple

from bros_sim.engine.latency_model import StepShape
from bros_sim.engine.reasons import DEADLINE, Note
from bros_sim.engine.scheduler import UNTIL_EVENT, Plan, ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.ordered.policy import Chunk, Rank, Step, completed, shape_of
from bros_sim.schedulers.ordered.scheduler import OrderedParameters, OrderedScheduler

Seqs = Collection[SequenceView]


class Candidate(NamedTuple):
    """A request that still has prompt tokens to compute."""

    due_s: float  # seconds from now until its first token is due
    tokens: int  # prompt tokens still to compute
    blocks: int  # KV blocks that it may come to hold
    promised: bool  # whether it was accepted before, and must stay so


class _State(NamedTuple):
    """The best way to have accepted so many: most prompt tokens to spare, then least memory."""

    surplus: float
    free_blocks: int
    chosen: tuple[int, ...] = ()


States = dict[int, _State]


def most_in_time(
    candidates: abc.Sequence[Candidate],
    decodes: int,
    free_blocks: int,
    prompt_rate: Callable[[int], float],
    most_decodes: int,
) -> tuple[int, ...]:
    """Indices of as many new candidates as can be accepted, all of them and the promised in time.

    ``candidates`` come in order of ``due_s``. Between two instants at which one is due the engine
    computes ``prompt_rate(n)`` prompt tokens a second beside ``n`` decodes: the ``decodes`` now
    running and whoever was accepted and is due by then. The tokens computed by each instant must
    cover the prompts due by it, and no more than ``most_decodes`` may decode in the end. Of all
    ways to accept so many only the one with most tokens to spare can matter later, so there is one
    state for each count. Memory is asked of that one state: where memory binds, not time, the
    choice may miss the optimum. Where the promised cannot all be in time any more, nobody new is
    accepted before them.
    """
    states, previous_s = {0: _State(0.0, free_blocks)}, 0.0
    places = most_decodes - decodes - sum(candidate.promised for candidate in candidates)
    promised = decodes
    for index, candidate in enumerate(candidates):
        seconds, previous_s = candidate.due_s - previous_s, candidate.due_s
        states = {
            new: state._replace(surplus=state.surplus + seconds * prompt_rate(promised + new))
            for new, state in states.items()
        }
        if candidate.promised:
            states, promised = _keep(states, candidate), promised + 1
        else:
            states = _offer(states, index, candidate, places)
    return states[max(states)].chosen


def _keep(states: States, candidate: Candidate) -> States:
    """The promise binds: what breaks it is dropped, unless everything does."""
    kept = {new: state for new, state in states.items() if state.surplus >= candidate.tokens}
    kept = kept or {min(states): states[min(states)]}
    return {n: x._replace(surplus=x.surplus - candidate.tokens) for n, x in kept.items()}


def _offer(states: States, index: int, candidate: Candidate, places: int) -> States:
    """Accept or decline, in each state; of two ways to the same count the better one stays."""
    after = dict(states)
    for new, state in states.items():
        surplus = state.surplus - candidate.tokens
        free = state.free_blocks - candidate.blocks
        if surplus < 0 or free < 0 or new >= places:
            continue
        rival = after.get(new + 1)
        if rival is None or (surplus, free) > (rival.surplus, rival.free_blocks):
            after[new + 1] = _State(surplus, free, (*state.chosen, index))
    return after


@dataclass(frozen=True)
class Pace:
    """How long the coming iteration may take, by the policy's own estimate."""

    view: ReplicaView
    bound_s: float  # the tightest TPOT of the promised that decode; infinite if nobody does
    prompts: abc.Sequence[Chunk] = ()  # what promised prompts lack, and what of them is computed
    slack_s: float = math.inf  # seconds until the first of them is due

    def late(self, decodes: int, kv_tokens: int) -> tuple[float, float]:
        """Seconds of an iteration with so many decodes, and the limit that they exceed or not."""
        seconds = self._step_s((), decodes, kv_tokens) if decodes else 0.0
        if seconds > self.bound_s or not self.prompts:
            return seconds, self.bound_s
        return self._step_s(self.prompts, decodes, kv_tokens), self.slack_s

    def with_s(self, step: Step, *more: Chunk) -> float:
        """Seconds of the step with more chunks; a cached prefix counts as absent."""
        chunks = [*((tokens, seq.num_computed) for seq, tokens in step.chunks), *more]
        if not (step.decodes or chunks):
            return 0.0
        return self._step_s(chunks, step.decodes, step.decode_kv)

    def prompt_rate(self, decodes: int, kv_tokens: int, limit: int) -> float:
        """Prompt tokens a second beside so many decodes, in iterations of at most ``limit``."""

        def seconds(tokens: int) -> float:
            return self._step_s([(tokens, 0)], decodes, kv_tokens)

        if not decodes:
            return limit / seconds(limit)
        room = range(1, limit - decodes + 1)
        tokens = bisect_right(room, self.bound_s, key=seconds)
        return tokens / seconds(tokens) if tokens else 0.0

    def _step_s(self, chunks: Iterable[Chunk], decodes: int, kv_tokens: int) -> float:
        return self.view.estimate.step_s(shape_of(chunks, decodes, kv_tokens))


def due_s(seq: SequenceView) -> float:
    """When the first token is due; infinity without TTFT."""
    return seq.slo.deadline(seq.arrival_s, 1)


def attainable(
    arrived: Iterable[SequenceView], promised: Seqs, view: ReplicaView, token_limit: int, seats: int
) -> list[SequenceView]:
    """Those of the arrived to promise their SLO beside the promises made before.

    The pace is set by the tightest TPOT of all of them, but for those who could not hold theirs
    even alone. A decode attends to as many tokens as the promised decodes do on average, or, as
    long as there is none, to the average prompt.
    """
    hopeful = [seq for seq in arrived if _alone_in_time(seq, view)]
    decodes = [seq for seq in promised if seq.num_output]
    seqs = sorted([*(seq for seq in promised if not seq.num_output), *hopeful], key=due_s)
    if not hopeful:
        return []
    pace = Pace(view, min(seq.slo.pace_s for seq in (*promised, *hopeful)))
    known = decodes or seqs
    kv_each = sum(seq.num_tokens for seq in known) // len(known)
    before = {seq.id for seq in promised}
    held = sum(_blocks(seq, view) for seq in promised)
    chosen = most_in_time(
        [_candidate(seq, view, promised=seq.id in before) for seq in seqs],
        len(decodes),
        view.kv.usable_blocks - held,
        cache(lambda count: pace.prompt_rate(count, count * kv_each, token_limit)),
        bisect_right(range(1, seats + 1), pace.bound_s, key=lambda n: _decodes_s(view, n, kv_each)),
    )
    return [seqs[i] for i in chosen]


def _candidate(seq: SequenceView, view: ReplicaView, *, promised: bool) -> Candidate:
    left_s = max(due_s(seq) - view.now, 0.0)
    return Candidate(left_s, seq.num_tokens - seq.num_computed, _blocks(seq, view), promised)


def _blocks(seq: SequenceView, view: ReplicaView) -> int:
    return -(-(seq.prompt_tokens + seq.max_tokens) // view.kv.block_size)


def _alone_in_time(seq: SequenceView, view: ReplicaView) -> bool:
    in_time = _decodes_s(view, 1, seq.prompt_tokens + 1) <= seq.slo.pace_s
    return due_s(seq) < math.inf and in_time


def _decodes_s(view: ReplicaView, seqs: int, kv_each: int) -> float:
    return view.estimate.step_s(StepShape((), seqs, seqs * kv_each))


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
        seqs, kv_tokens = view.num_decodes, sum(view.decode_kv_by_class)
        seconds, limit_s = self._pace.late(seqs, kv_tokens)
        if seconds <= limit_s:
            return ()
        givers = [seq for seq in view.batch if seq.decoding and seq.id not in self._promised]
        givers.sort(key=lambda seq: -seq.id)
        freed = [0, *accumulate(seq.num_computed + 1 for seq in givers)]

        def in_time(gone: int) -> bool:
            seconds, limit_s = self._pace.late(seqs - gone, kv_tokens - freed[gone])
            return seconds <= limit_s

        enough = bisect_right(range(len(givers)), False, key=in_time)
        return [Note(seq, DEADLINE, None, seconds, limit_s) for seq in givers[:enough]]

    def grant(self, seq: SequenceView, tokens: int, step: Step) -> int:
        limit_s, context = self._limit_s(seq, step), seq.num_computed
        if math.isinf(limit_s):
            return tokens
        return bisect_right(
            range(1, tokens + 1), limit_s, key=lambda n: self._pace.with_s(step, (n, context))
        )

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
