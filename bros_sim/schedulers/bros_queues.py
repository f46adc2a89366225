"""The jobs that a BROS scheduler knows: RT and BE, waiting, pending or in the batch."""

import math
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import chain
from operator import itemgetter

from bros_sim.job import JobView
from bros_sim.kv.base import KVManager
from bros_sim.request import ServiceClass

RT, BE = ServiceClass.RT, ServiceClass.BE
RtEntry = tuple[float, int, JobView]
"""Deadline of the next token, job id, job."""


def _jobs_of_both() -> dict[ServiceClass, dict[int, JobView]]:
    return {RT: {}, BE: {}}


@dataclass
class BrosQueues:
    """Separate RT and BE queues (digest of the paper: waiting, pending and running queues).

    ``running`` holds every job with KV; those of them that are ``pending`` are outside the decode
    cohort. ``per_token``: the next token is due a TPOT after the last one; else by `Slo.deadline`.
    The deadline of a waiting or pending RT stands still, so both lists are kept sorted by it.
    """

    per_token: bool
    rt_waiting: list[RtEntry] = field(default_factory=list)
    rt_pending: list[RtEntry] = field(default_factory=list)
    be_waiting: list[tuple[int, JobView]] = field(default_factory=list)
    be_pending: dict[int, JobView] = field(default_factory=dict)
    running: dict[ServiceClass, dict[int, JobView]] = field(default_factory=_jobs_of_both)
    tpots: Counter[float | None] = field(default_factory=Counter)
    """How many running RT jobs have which TPOT target."""

    def deadline(self, job: JobView) -> float:
        """When the job's next token is due."""
        if job.last_token_s is None or not self.per_token:
            return job.slo.deadline(job.arrival_s, job.num_output + 1)
        return math.inf if job.slo.tpot_s is None else job.last_token_s + job.slo.tpot_s

    # -- changes of state -----------------------------------------------------------------------

    def wait(self, job: JobView) -> None:
        """The job has no KV and waits."""
        if job.service_class is RT:
            insort(self.rt_waiting, (self.deadline(job), job.id, job), key=_order)
        else:
            insort(self.be_waiting, (job.id, job), key=itemgetter(0))

    def admit(self, job: JobView) -> None:
        """A waiting job gets KV and is in the batch."""
        if job.service_class is RT:
            self._remove(self.rt_waiting, job)
            self.tpots[job.slo.tpot_s] += 1
        else:
            del self.be_waiting[bisect_left(self.be_waiting, job.id, key=itemgetter(0))]
        self.running[job.service_class][job.id] = job

    def pause(self, job: JobView) -> None:
        """A cohort member is not in the batch: it keeps its KV and is pending."""
        if job.service_class is RT:
            insort(self.rt_pending, (self.deadline(job), job.id, job), key=_order)
        else:
            self.be_pending[job.id] = job

    def resume(self, job: JobView) -> None:
        """A pending job is in the batch again."""
        if job.service_class is RT:
            self._remove(self.rt_pending, job)
        else:
            del self.be_pending[job.id]

    def is_pending(self, job: JobView) -> bool:
        """Whether the job has KV and is outside the cohort."""
        if job.service_class is BE:
            return job.id in self.be_pending
        return job.id in self.running[RT] and not job.decoding

    def evict(self, job: JobView) -> None:
        """The job lost its KV and waits again."""
        if self.is_pending(job):
            self.resume(job)
        self.finish(job)
        self.wait(job)

    def finish(self, job: JobView) -> None:
        """The job was in the batch and is gone."""
        del self.running[job.service_class][job.id]
        if job.service_class is RT:
            self.tpots[job.slo.tpot_s] -= 1
            if not self.tpots[job.slo.tpot_s]:
                del self.tpots[job.slo.tpot_s]

    def _remove(self, entries: list[RtEntry], job: JobView) -> None:
        del entries[bisect_left(entries, (self.deadline(job), job.id), key=_order)]

    # -- orders ---------------------------------------------------------------------------------

    def rt_entries(self, most: int) -> Iterable[RtEntry]:
        """RT outside the cohort by deadline: the pending, and at most ``most`` of the waiting."""
        if not self.rt_pending:
            return self.rt_waiting[:most]
        return merge(self.rt_pending, self.rt_waiting[:most], key=_order)

    def all_rt_entries(self, most: int, now: float) -> Iterable[RtEntry]:
        """These and the RT in the decode cohort; those due at once stand in order of admission."""
        others = list(self.rt_entries(most))
        members = (job for job in self.running[RT].values() if job.decoding)
        due = self.common_deadline(now)
        if due is None:
            cohort = sorted(((self.deadline(job), job.id, job) for job in members), key=_order)
            return merge(others, cohort, key=_order)
        before = bisect_left(others, due, key=itemgetter(0))
        return chain(others[:before], ((due, job.id, job) for job in members), others[before:])

    def common_deadline(self, now: float) -> float | None:
        """When the next token of every RT in the cohort is due, if that is one instant."""
        if not self.per_token or len(self.tpots) > 1:
            return None
        (tpot,) = self.tpots or (None,)
        return math.inf if tpot is None else now + tpot

    def be_order(self, kv: KVManager, *, pending_only: bool) -> list[JobView]:
        """BE with KV by blocks to restore, then by arrival (digest: ascending M_cpu)."""
        jobs = (self.be_pending if pending_only else self.running[BE]).values()
        return sorted(jobs, key=lambda job: (kv.blocks_to_restore(job), job.id))

    def lenders(self, kv: KVManager, *, pending_only: bool) -> Sequence[JobView]:
        """BE whose blocks RT may borrow: who would run last is hurt first (inferred)."""
        return self.be_order(kv, pending_only=pending_only)[::-1]


_order = itemgetter(0, 1)
