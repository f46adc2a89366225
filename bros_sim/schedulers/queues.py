"""vLLM's two waiting queues."""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator

from bros_sim.engine.sequence import SequenceView


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
