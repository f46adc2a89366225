"""The order in which requests of BROS wait: for admission, or with KV for their next turn."""

import math
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Container, Iterable
from operator import attrgetter, itemgetter

from bros_sim.core.request import ServiceClass
from bros_sim.engine.kv_cache import KVManager
from bros_sim.engine.scheduler import ReplicaView
from bros_sim.engine.sequence import SequenceView

RT, BE = ServiceClass.RT, ServiceClass.BE
RtEntry = tuple[float, int, SequenceView]
"""Deadline of the next token, id, sequence."""


class BrosQueues:
    """Separate RT and BE queues (digest of the paper: waiting, pending and running queues).

    Who runs is the engine's to say; those who do outside the decode cohort are pending.
    ``per_token``: the next token is due a TPOT after the last one; else by `Slo.deadline`. The
    deadline of a waiting or pending RT stands still, so both lists are kept sorted by it.
    """

    def __init__(self, *, per_token: bool) -> None:
        self.per_token = per_token
        self.rt_waiting: list[RtEntry] = []
        self.rt_pending: list[RtEntry] = []
        self.be_waiting: list[tuple[int, SequenceView]] = []
        self.tpots: Counter[float | None] = Counter()  # TPOT targets of running RT

    def deadline(self, seq: SequenceView) -> float:
        """When the request's next token is due."""
        last, slo = seq.last_token_s, seq.slo
        if last is None or not self.per_token:
            return slo.deadline(seq.arrival_s, seq.num_output + 1)
        return math.inf if slo.tpot_s is None else last + slo.tpot_s

    def wait(self, seq: SequenceView) -> None:
        """The request has no KV and waits."""
        if seq.service_class is RT:
            insort(self.rt_waiting, (self.deadline(seq), seq.id, seq), key=_order)
        else:
            insort(self.be_waiting, (seq.id, seq), key=itemgetter(0))

    def admit(self, seq: SequenceView) -> None:
        """A waiting request gets KV and is in the batch."""
        if seq.service_class is RT:
            place = self.deadline(seq), seq.id
            del self.rt_waiting[bisect_left(self.rt_waiting, place, key=_order)]
            self.tpots[seq.slo.tpot_s] += 1
        else:
            del self.be_waiting[bisect_left(self.be_waiting, seq.id, key=itemgetter(0))]

    def pause(self, view: ReplicaView, others: Container[int]) -> tuple[SequenceView, ...]:
        """Members of the decode cohort but for ``others`` (by id) keep their KV, pending."""
        rt = [entry for entry in self.rt_members(view) if entry[1] not in others]
        be = [x for x in view.batch if x.decoding and x.service_class is BE and x.id not in others]
        if rt:
            self.rt_pending += rt
            self.rt_pending.sort(key=_order)
        return (*[seq for _, _, seq in rt], *be)

    def resume(self, seqs: Container[int]) -> None:
        """Those of these (by id) that were pending are in the batch again, or gone."""
        if self.rt_pending:
            self.rt_pending = [entry for entry in self.rt_pending if entry[1] not in seqs]

    def finish(self, seq: SequenceView) -> None:
        """The request holds no KV any more."""
        self.resume((seq.id,))
        if seq.service_class is RT:
            self.tpots -= Counter((seq.slo.tpot_s,))

    def rt_entries(self, most: int) -> list[RtEntry]:
        """RT outside the cohort by deadline: the pending, and at most ``most`` of the waiting."""
        if not self.rt_pending:
            return self.rt_waiting[:most]
        return sorted(self.rt_pending + self.rt_waiting[:most], key=_order)

    def all_rt_entries(self, most: int, view: ReplicaView) -> list[RtEntry]:
        """These and the RT in the decode cohort; those due at once stand in order of admission."""
        others, members = self.rt_entries(most), self.rt_members(view)
        due = self.common_deadline(view.now)
        if due is None:
            return sorted(others + members, key=_order)
        before = bisect_left(others, due, key=itemgetter(0))
        return others[:before] + members + others[before:]

    def rt_members(self, view: ReplicaView) -> list[RtEntry]:
        """RT in the decode cohort in order of admission."""
        members = [seq for seq in view.batch if seq.decoding and seq.service_class is RT]
        due = self.common_deadline(view.now)
        return [(self.deadline(x) if due is None else due, x.id, x) for x in members]

    def common_deadline(self, now: float) -> float | None:
        """When the next token of every RT in the cohort is due, if that is one instant."""
        if not self.per_token or len(self.tpots) > 1:
            return None
        (tpot,) = self.tpots or (None,)
        return math.inf if tpot is None else now + tpot

    @staticmethod
    def be_order(kv: KVManager, seqs: Iterable[SequenceView]) -> list[SequenceView]:
        """BE of these by blocks to restore, then by arrival (digest: ascending M_cpu)."""
        best_effort = [seq for seq in seqs if seq.service_class is BE]
        if kv.restores_nothing:
            return sorted(best_effort, key=attrgetter("id"))
        return sorted(best_effort, key=lambda seq: (kv.blocks_to_restore(seq), seq.id))


_order = itemgetter(0, 1)
