"""Waiting queues: vLLM's two orders, and the order of any rank."""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from bros_sim.engine.sequence import SequenceView

Rank = tuple[float, ...]
"""Where a request stands: the lower is served first; a queue gives all as many numbers."""


class FcfsQueue:
    """First come, first served; who is put back comes first."""

    def __init__(self) -> None:
        self._seqs: deque[SequenceView] = deque()

    def __len__(self) -> int:
        return len(self._seqs)

    def __iter__(self) -> Iterator[SequenceView]:
        return iter(self._seqs)

    def push(self, seq: SequenceView) -> None:
        """Add a request that just arrived."""
        self._seqs.append(seq)

    def push_back(self, seqs: Iterable[SequenceView]) -> None:
        """Put requests back at the head, the last of them foremost."""
        self._seqs.extendleft(seqs)

    def peek(self) -> SequenceView:
        """The next one."""
        return self._seqs[0]

    def pop(self) -> SequenceView:
        """Take the next request out."""
        return self._seqs.popleft()


class PriorityQueue:
    """The lower priority value first; ties by arrival, whatever was put back."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, SequenceView]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[SequenceView]:
        return (seq for _, _, seq in sorted(self._heap))

    def push(self, seq: SequenceView) -> None:
        heapq.heappush(self._heap, (seq.priority, seq.id, seq))

    def push_back(self, seqs: Iterable[SequenceView]) -> None:
        for seq in seqs:
            self.push(seq)

    def peek(self) -> SequenceView:
        return self._heap[0][2]

    def pop(self) -> SequenceView:
        return heapq.heappop(self._heap)[2]


WaitingQueue = FcfsQueue | PriorityQueue
"""vLLM's RequestQueue: who is admitted next."""


class RankedQueue:
    """The lowest rank first, ties by arrival. A rank is given on entry and kept until `rerank`."""

    def __init__(self) -> None:
        self._heap: list[tuple[Rank, int, SequenceView]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[SequenceView]:
        """In the order of service; the first k of them cost O(k log k), however many wait."""
        heap = self._heap
        places = [(heap[0], 0)] if heap else []
        while places:
            (_, _, seq), at = heapq.heappop(places)
            yield seq
            for child in range(2 * at + 1, min(2 * at + 3, len(heap))):
                heapq.heappush(places, (heap[child], child))

    def push(self, seq: SequenceView, rank: Rank) -> None:
        heapq.heappush(self._heap, (rank, seq.id, seq))

    def pop(self) -> SequenceView:
        return heapq.heappop(self._heap)[2]

    def rerank(self, rank: Callable[[SequenceView], Rank]) -> None:
        """Ask for every rank anew, in O(n)."""
        self._heap = [(rank(seq), seq.id, seq) for _, _, seq in self._heap]
        heapq.heapify(self._heap)
