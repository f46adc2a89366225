"""Multi-level feedback: which queue a request is in follows from the service that it has had.

Everybody in the batch is served by every iteration, so one clock of served seconds and one heap of
the readings at which quanta run out do for all of them: an iteration costs the same, however many
it serves.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Place:
    """Where a request stands, and what it has used of its quantum there."""

    level: int
    order: int
    used_s: float = 0.0
    since: float | None = None
    version: int = 0


@dataclass
class FeedbackQueues:
    """Queues 0, 1, 2, ...: a quantum of ``base_s`` in the first, ``ratio`` times more in each next.

    ``place`` sorts requests as they are to be served: by queue, and in it by position.
    """

    base_s: float
    ratio: float
    _places: dict[int, _Place] = field(init=False, default_factory=dict)
    _served: set[int] = field(init=False, default_factory=set)
    _clock: float = field(init=False, default=0.0)
    _expiries: list[tuple[float, int, int]] = field(init=False, default_factory=list)
    _rests: list[tuple[float, int, int]] = field(init=False, default_factory=list)
    _back: int = field(init=False, default=0)
    _front: int = field(init=False, default=0)

    def quantum_s(self, level: int) -> float:
        """Service after which a request leaves that queue."""
        return self.base_s * self.ratio**level

    def join(self, seq: int, first_s: float, now: float) -> None:
        """Go to the back of the highest queue whose quantum covers ``first_s``; skip the others."""
        level = 0
        while self.quantum_s(level) < first_s:
            level += 1
        self._back += 1
        self._places[seq] = _Place(level, self._back)
        heapq.heappush(self._rests, (now, seq, 0))

    def leave(self, seq: int) -> None:
        """The request is done."""
        del self._places[seq]
        self._served.discard(seq)

    def place(self, seq: int) -> tuple[int, int]:
        """Queue and position in it; the lowest is served first."""
        at = self._places[seq]
        return at.level, at.order

    def elapse(self, durations_s: Sequence[float]) -> bool:
        """Iterations have served the batch; whether that moved anybody one queue down."""
        moved = False
        for seconds in durations_s:
            self._clock += seconds
            while self._expiries and self._expiries[0][0] < self._clock:
                _, seq, version = heapq.heappop(self._expiries)
                moved |= self._demote(seq, version)
        return moved

    def serve(self, batch: Iterable[int], now: float) -> None:
        """From now on these are served, and nobody else."""
        chosen = set(batch)
        for seq in sorted(self._served - chosen):
            self._rest(seq, now)
        for seq in sorted(chosen - self._served):
            at = self._places[seq]
            at.since = self._clock - at.used_s
            at.version += 1
            self._await(seq, at)
        self._served = chosen

    def promote(self, now: float, patience_s: float) -> bool:
        """Whoever was not served for that long goes to the front of the first queue."""
        moved = False
        while self._rests and self._rests[0][0] + patience_s <= now:
            _, seq, version = heapq.heappop(self._rests)
            at = self._places.get(seq)
            if at is not None and at.version == version and at.level:
                self._front -= 1
                at.level, at.order, moved = 0, self._front, True
        return moved

    def _rest(self, seq: int, now: float) -> None:
        at = self._places[seq]
        if at.since is not None:
            at.used_s, at.since = self._clock - at.since, None
        at.version += 1
        heapq.heappush(self._rests, (now, seq, at.version))

    def _await(self, seq: int, at: _Place) -> None:
        if at.since is not None:
            expiry = at.since + self.quantum_s(at.level)
            heapq.heappush(self._expiries, (expiry, seq, at.version))

    def _demote(self, seq: int, version: int) -> bool:
        """One queue down, to its front, with a quantum to use."""
        at = self._places.get(seq)
        if at is None or at.version != version or at.since is None:
            return False
        self._front -= 1
        at.level, at.order = at.level + 1, self._front
        at.since = self._clock
        self._await(seq, at)
        return True
