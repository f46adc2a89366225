"""Best-effort jobs in a BROS batch: into what real-time jobs leave of time, memory and seats."""

import math
from collections.abc import Sequence

from bros_sim.engine.sequence import JobView
from bros_sim.schedulers.bros.batch import Work
from bros_sim.schedulers.bros.offers import Offers


def best_effort(offers: Offers, held: Sequence[JobView]) -> None:
    """BE with KV in their order, then waiting ones by arrival, into what is left."""
    _held(offers, [job for job in held if job.id not in offers.memory.gone])
    _waiting(offers)


def _held(offers: Offers, held: Sequence[JobView]) -> None:
    taken = _held_together(offers, held[: offers.batch.cap - offers.batch.size])
    for rank, job in enumerate(held[taken:], taken):
        if offers.batch.size >= offers.batch.cap:
            _without_room(offers, held[rank:])
            break
        if job.id in offers.memory.gone:
            continue
        work = offers.batch.work(job)
        if _in_time(offers, job, work):
            later = held[:rank:-1]  # liveness (inferred): the BE ranked last gives way
            if offers.memory.reserve(job, ()) or offers.memory.displace(job, later):
                offers.batch.add(job, work)
            else:
                offers.memory_short = offers.left_out = True
                offers.notes.memory(job)


def _held_together(offers: Offers, held: Sequence[JobView]) -> int:
    """Take the first of them, as many as are in time together; how many that are."""
    batch = offers.batch
    if not held or batch.estimate.noise:
        return 0
    return offers.take(held[: offers.first_in_time(held, batch.be_bound_s)])


def _waiting(offers: Offers) -> None:
    # Memory is asked before time: when it is short, nearly all that wait fail here, each time.
    room, too_long = offers.memory.tokens_to_spare(), math.inf
    for _, job in offers.queues.be_waiting[: offers.batch.cap]:
        if offers.batch.size >= offers.batch.cap:
            _without_room(offers, (job,))
            break
        if job.num_tokens > room:
            offers.left_out = True
            offers.notes.memory(job, offers.memory.spare)
            continue
        if job.num_tokens >= too_long:
            continue
        work = offers.batch.work(job)
        if not _in_time(offers, job, work):
            too_long = math.inf if offers.each_counts else job.num_tokens
        elif offers.memory.reserve(job, ()):
            offers.batch.add(job, work)
            room = offers.memory.tokens_to_spare()


def _without_room(offers: Offers, jobs: Sequence[JobView]) -> None:
    """The batch is full, but RT may be replaced."""
    left = [job for job in jobs if job.id not in offers.memory.gone]
    offers.unserved += left
    offers.left_out |= bool(left)
    if offers.notes.asked:
        for job in left:
            offers.notes.cap(job)


def _in_time(offers: Offers, job: JobView, work: Work) -> bool:
    batch = offers.batch
    if not batch.size or (seconds := batch.seconds_with(work)) <= batch.be_bound_s:
        return True
    offers.left_out = True
    offers.bound_hit |= offers.rules.be_resets_cap
    offers.notes.deadline(job, seconds, batch.be_bound_s)
    return False
