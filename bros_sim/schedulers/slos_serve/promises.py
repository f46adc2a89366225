"""Whom SLOs-Serve's idea promises an SLO: requests in, promises out."""

import math
from bisect import bisect_right
from collections.abc import Collection, Iterable
from functools import cache

from bros_sim.engine.latency_model import StepShape
from bros_sim.engine.scheduler import ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.slos_serve.choice import Candidate, most_in_time
from bros_sim.schedulers.slos_serve.pace import Pace


def due_s(seq: SequenceView) -> float:
    """When the first token is due; infinity without TTFT."""
    return seq.slo.deadline(seq.arrival_s, 1)


def attainable(
    arrived: Iterable[SequenceView],
    promised: Collection[SequenceView],
    view: ReplicaView,
    token_limit: int,
    seats: int,
) -> list[SequenceView]:
    """Those of the arrived to promise their SLO beside the promises made before.

    The pace is set by the tightest TPOT of all of them, but for those who could not hold theirs
    even alone. A decode attends to as many tokens as the promised decodes do on average, or, as
    long as there is none, to the average prompt.
    """
    hopeful = [seq for seq in arrived if due_s(seq) < math.inf and _alone_in_time(seq, view)]
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
        bisect_right(range(1, seats + 1), pace.bound_s, key=lambda n: _decodes_s(view, n, kv_each)),
    )
    return [seqs[i] for i in chosen]


def _candidate(seq: SequenceView, view: ReplicaView, *, promised: bool) -> Candidate:
    left_s = max(due_s(seq) - view.now, 0.0)
    return Candidate(left_s, seq.num_tokens - seq.num_computed, _blocks(seq, view), promised)


def _blocks(seq: SequenceView, view: ReplicaView) -> int:
    """KV blocks that the request may come to hold."""
    return -(-(seq.prompt_tokens + seq.max_tokens) // view.kv.block_size)


def _alone_in_time(seq: SequenceView, view: ReplicaView) -> bool:
    return _decodes_s(view, 1, seq.prompt_tokens + 1) <= seq.slo.pace_s


def _decodes_s(view: ReplicaView, seqs: int, kv_each: int) -> float:
    return view.estimate.step_s(StepShape((), seqs, seqs * kv_each))
