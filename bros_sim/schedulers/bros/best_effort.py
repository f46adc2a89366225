"""BE requests in a BROS batch: into what RT requests leave of time, memory and seats."""

import math
from collections import abc

from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.bros.batch import Work
from bros_sim.schedulers.bros.offers import Offers


def best_effort(offers: Offers, held: abc.Sequence[SequenceView]) -> None:
    """BE with KV in their order, then waiting ones by arrival, into what is left."""
    _held(offers, [seq for seq in held if seq.id not in offers.memory.gone])
    _waiting(offers)


def _held(offers: Offers, held: abc.Sequence[SequenceView]) -> None:
    taken = _held_together(offers, held[: offers.batch.cap - offers.batch.size])
    for rank, seq in enumerate(held[taken:], taken):
        if offers.batch.size >= offers.batch.cap:
            _without_room(offers, held[rank:])
            break
        if seq.id in offers.memory.gone:
            continue
        work = offers.batch.work(seq)
        if _in_time(offers, seq, work):
            later = held[:rank:-1]  # liveness (inferred): the BE ranked last gives way
            if offers.memory.reserve(seq, ()) or offers.memory.displace(seq, later):
                offers.batch.add(seq, work)
            else:
                offers.memory_short = offers.left_out = True
                offers.notes.memory(seq)


def _held_together(offers: Offers, held: abc.Sequence[SequenceView]) -> int:
    """Take the first of them, as many as are in time together; how many that are."""
    batch = offers.batch
    if not held or batch.estimate.noise:
        return 0
    return offers.take(held[: offers.first_in_time(held, batch.be_bound_s)])


def _waiting(offers: Offers) -> None:
    # Memory is asked before time: when it is short, nearly all that wait fail here, each time.
    room, too_long = offers.memory.tokens_to_spare(), math.inf
    for _, seq in offers.queues.be_waiting[: offers.batch.cap]:
        if offers.batch.size >= offers.batch.cap:
            _without_room(offers, (seq,))
            break
        if seq.num_tokens > room:
            offers.left_out = True
            offers.notes.memory(seq, offers.memory.spare)
            continue
        if seq.num_tokens >= too_long:
            continue
        work = offers.batch.work(seq)
        if not _in_time(offers, seq, work):
            too_long = math.inf if offers.each_counts else seq.num_tokens
        elif offers.memory.reserve(seq, ()):
            offers.batch.add(seq, work)
            room = offers.memory.tokens_to_spare()


def _without_room(offers: Offers, seqs: abc.Sequence[SequenceView]) -> None:
    """The batch is full, but RT may be replaced."""
    left = [seq for seq in seqs if seq.id not in offers.memory.gone]
    offers.unserved += left
    offers.left_out |= bool(left)
    if offers.notes.asked:
        for seq in left:
            offers.notes.cap(seq)


def _in_time(offers: Offers, seq: SequenceView, work: Work) -> bool:
    batch = offers.batch
    if not batch.size or (seconds := batch.seconds_with(work)) <= batch.be_bound_s:
        return True
    offers.left_out = True
    offers.bound_hit |= offers.rules.be_resets_cap
    offers.notes.deadline(seq, seconds, batch.be_bound_s)
    return False
