"""Whom SLOs-Serve's idea promises an SLO, and what best effort leaves in time."""

import math
from bisect import bisect_right
from collections import abc
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import NamedTuple

from bros_sim.engine.latency_model import StepShape
from bros_sim.engine.scheduler import ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.ordered.policy import Chunk, Step, shape_of

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

    def too_many(self, givers: abc.Sequence[SequenceView]) -> abc.Sequence[SequenceView]:
        """The first of these cohort members without whom everything promised is in time."""
        seqs, kv_tokens = self.view.num_decodes, sum(self.view.decode_kv_by_class)
        freed = [0, *accumulate(seq.num_computed + 1 for seq in givers)]

        def in_time(gone: int) -> bool:
            seconds, limit_s = self.late(seqs - gone, kv_tokens - freed[gone])
            return seconds <= limit_s

        return givers[: bisect_right(range(len(givers)), False, key=in_time)]

    def tokens_beside(self, step: Step, seq: SequenceView, tokens: int, limit_s: float) -> int:
        """How many of ``tokens`` it can compute within ``limit_s``, beside the step so far."""
        if math.isinf(limit_s):
            return tokens
        context = seq.num_computed
        return bisect_right(
            range(1, tokens + 1), limit_s, key=lambda n: self.with_s(step, (n, context))
        )

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

    def decodes_s(seqs: int, kv_each: int) -> float:
        return view.estimate.step_s(StepShape((), seqs, seqs * kv_each))

    hopeful = [
        seq
        for seq in arrived
        if due_s(seq) < math.inf and decodes_s(1, seq.prompt_tokens + 1) <= seq.slo.pace_s
    ]
    decodes = [seq for seq in promised if seq.num_output]
    seqs = sorted([*(seq for seq in promised if not seq.num_output), *hopeful], key=due_s)
    if not hopeful:
        return []
    pace = Pace(view, min(seq.slo.pace_s for seq in (*promised, *hopeful)))
    known = decodes or seqs
    kv_each = sum(seq.num_tokens for seq in known) // len(known)
    held = sum(_blocks(seq, view) for seq in promised)
    before = {seq.id for seq in promised}
    chosen = most_in_time(
        [_candidate(seq, view, promised=seq.id in before) for seq in seqs],
        len(decodes),
        view.kv.usable_blocks - held,
        cache(lambda count: pace.prompt_rate(count, count * kv_each, token_limit)),
        bisect_right(range(1, seats + 1), pace.bound_s, key=lambda n: decodes_s(n, kv_each)),
    )
    return [seqs[i] for i in chosen]


def _candidate(seq: SequenceView, view: ReplicaView, *, promised: bool) -> Candidate:
    left_s = max(due_s(seq) - view.now, 0.0)
    return Candidate(left_s, seq.num_tokens - seq.num_computed, _blocks(seq, view), promised)


def _blocks(seq: SequenceView, view: ReplicaView) -> int:
    """KV blocks that the request may come to hold."""
    return -(-(seq.prompt_tokens + seq.max_tokens) // view.kv.block_size)
