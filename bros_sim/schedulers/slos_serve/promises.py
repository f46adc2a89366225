"""Whom SLOs-Serve's idea promises an SLO: requests in, promises out."""

import math
from bisect import bisect_right
from collections.abc import Collection, Iterable
from functools import cache

from bros_sim.engine.latency_model import StepShape
from bros_sim.engine.scheduler import ReplicaView
from bros_sim.engine.sequence import JobView
from bros_sim.schedulers.slos_serve.choice import Candidate, most_in_time
from bros_sim.schedulers.slos_serve.pace import Pace


def due_s(job: JobView) -> float:
    """When the first token is due; infinity without TTFT."""
    return job.slo.deadline(job.arrival_s, 1)


def tpot_s(job: JobView) -> float:
    """Seconds for each further token; infinity without TPOT."""
    return math.inf if job.slo.tpot_s is None else job.slo.tpot_s


def attainable(
    arrived: Iterable[JobView],
    promised: Collection[JobView],
    view: ReplicaView,
    token_limit: int,
    seats: int,
) -> list[JobView]:
    """Those of the arrived to promise their SLO beside the promises made before.

    The pace is set by the tightest TPOT of all of them, but for those who could not hold theirs
    even alone. A decode attends to as many tokens as the promised decodes do on average, or, as
    long as there is none, to the average prompt.
    """
    hopeful = [job for job in arrived if due_s(job) < math.inf and _alone_in_time(job, view)]
    decodes = [job for job in promised if job.num_output]
    jobs = sorted([*(job for job in promised if not job.num_output), *hopeful], key=due_s)
    if not hopeful:
        return []
    pace = Pace(view, min(map(tpot_s, (*promised, *hopeful))))
    known = decodes or jobs
    kv_each = sum(job.num_tokens for job in known) // len(known)
    held = sum(_blocks(job, view) for job in promised)
    before = {job.id for job in promised}
    chosen = most_in_time(
        [_candidate(job, view, promised=job.id in before) for job in jobs],
        len(decodes),
        view.kv.usable_blocks - held,
        cache(lambda count: pace.prompt_rate(count, count * kv_each, token_limit)),
        bisect_right(range(1, seats + 1), pace.bound_s, key=lambda n: _decodes_s(view, n, kv_each)),
    )
    return [jobs[i] for i in chosen]


def _candidate(job: JobView, view: ReplicaView, *, promised: bool) -> Candidate:
    left_s = max(due_s(job) - view.now, 0.0)
    return Candidate(left_s, job.num_tokens - job.num_computed, _blocks(job, view), promised)


def _blocks(job: JobView, view: ReplicaView) -> int:
    """KV blocks that the job may come to hold."""
    return -(-(job.prompt_tokens + job.max_tokens) // view.kv.block_size)


def _alone_in_time(job: JobView, view: ReplicaView) -> bool:
    return _decodes_s(view, 1, job.prompt_tokens + 1) <= tpot_s(job)


def _decodes_s(view: ReplicaView, jobs: int, kv_each: int) -> float:
    return view.estimate.step_s(StepShape((), jobs, jobs * kv_each))
