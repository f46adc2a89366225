"""When the next token of a decode cohort is due, without asking each of its members."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bros_sim.engine.sequence import JobView


@dataclass
class DecodeSlack:
    """Decodes by time per output token: within such a group the tightest one stays the tightest.

    All members get a token in every iteration, so their deadlines move on alike.
    """

    starts: Sequence[JobView] = ()
    """Jobs whose prompt ends in the iteration under way; they decode from then on."""
    _groups: dict[float, dict[int, JobView]] = field(init=False, default_factory=dict)
    _tightest: dict[float, JobView] = field(init=False, default_factory=dict)
    _clock_s: dict[int, float] = field(init=False, default_factory=dict)
    """When the first token was due, or came if it came late, by job."""
    _tpot_s: dict[int, float] = field(init=False, default_factory=dict)

    def join(
        self, first_due_s: Callable[[JobView], float], tpot_s: Callable[[JobView], float]
    ) -> None:
        """Those of `starts` that have not finished at once are decodes now."""
        for job in self.starts:
            start = max(first_due_s(job), job.last_token_s or 0.0)
            clock, tpot = self._clock_s.setdefault(job.id, start), tpot_s(job)
            if math.isinf(clock) or math.isinf(tpot):
                continue
            self._tpot_s[job.id] = tpot
            self._groups.setdefault(tpot, {})[job.id] = job
            tightest = self._tightest.get(tpot)
            if tightest is None or self._next_due_s(job) < self._next_due_s(tightest):
                self._tightest[tpot] = job
        self.starts = ()

    def leave(self, job: JobView) -> None:
        """The job does not decode any more; it may again."""
        self.starts = [x for x in self.starts if x.id != job.id]
        tpot = self._tpot_s.pop(job.id, None)
        if tpot is None:
            return
        group = self._groups[tpot]
        del group[job.id]
        if self._tightest[tpot].id == job.id:
            del self._tightest[tpot]
            if group:
                self._tightest[tpot] = min(group.values(), key=self._next_due_s)

    def forget(self, job: JobView) -> None:
        """The job is gone."""
        self.leave(job)
        self._clock_s.pop(job.id, None)

    def due_s(self) -> float:
        """When the first of their next tokens is due; infinity when nothing binds them."""
        return min(map(self._next_due_s, self._tightest.values()), default=math.inf)

    def _next_due_s(self, job: JobView) -> float:
        return self._clock_s[job.id] + self._tpot_s[job.id] * job.num_output
