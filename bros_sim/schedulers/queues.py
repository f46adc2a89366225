"""Waiting queues: vLLM's two orders, and the order of any rank."""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from bros_sim.engine.sequence import JobView

Rank = tuple[float, ...]
"""Where a job stands: the lower is served first; every job of a queue has as many numbers."""


class WaitingQueue(Protocol):
    """vLLM's RequestQueue: who is admitted next."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[JobView]:
        """Jobs in the order of service."""
        ...

    def push(self, job: JobView) -> None:
        """Add a job that just arrived."""
        ...

    def push_back(self, jobs: Iterable[JobView]) -> None:
        """Put jobs back at the head, the last of them foremost."""
        ...

    def peek(self) -> JobView:
        """The next job."""
        ...

    def pop(self) -> JobView:
        """Take the next job out."""
        ...


class FcfsQueue:
    """First come, first served; who is put back comes first."""

    def __init__(self) -> None:
        self._jobs: deque[JobView] = deque()

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[JobView]:
        return iter(self._jobs)

    def push(self, job: JobView) -> None:
        """See `WaitingQueue.push`."""
        self._jobs.append(job)

    def push_back(self, jobs: Iterable[JobView]) -> None:
        """See `WaitingQueue.push_back`."""
        self._jobs.extendleft(jobs)

    def peek(self) -> JobView:
        """See `WaitingQueue.peek`."""
        return self._jobs[0]

    def pop(self) -> JobView:
        """See `WaitingQueue.pop`."""
        return self._jobs.popleft()


class PriorityQueue:
    """The lower priority value first; ties by arrival, whatever was put back."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, JobView]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[JobView]:
        return (job for _, _, job in sorted(self._heap))

    def push(self, job: JobView) -> None:
        """See `WaitingQueue.push`."""
        heapq.heappush(self._heap, (job.priority, job.id, job))

    def push_back(self, jobs: Iterable[JobView]) -> None:
        """See `WaitingQueue.push_back`: the heap alone decides the order."""
        for job in jobs:
            self.push(job)

    def peek(self) -> JobView:
        """See `WaitingQueue.peek`."""
        return self._heap[0][2]

    def pop(self) -> JobView:
        """See `WaitingQueue.pop`."""
        return heapq.heappop(self._heap)[2]


class RankedQueue:
    """The lowest rank first, ties by arrival. A rank is given on entry and kept until `rerank`."""

    def __init__(self) -> None:
        self._heap: list[tuple[Rank, int, JobView]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[JobView]:
        """Jobs in the order of service; the first k of them cost O(k log k), however many wait."""
        heap = self._heap
        places = [(heap[0], 0)] if heap else []
        while places:
            (_, _, job), at = heapq.heappop(places)
            yield job
            for child in range(2 * at + 1, min(2 * at + 3, len(heap))):
                heapq.heappush(places, (heap[child], child))

    def push(self, job: JobView, rank: Rank) -> None:
        """Add a job that arrived or was preempted."""
        heapq.heappush(self._heap, (rank, job.id, job))

    def pop(self) -> JobView:
        """Take the first job out."""
        return heapq.heappop(self._heap)[2]

    def rerank(self, rank: Callable[[JobView], Rank]) -> None:
        """Ask for every rank anew, in O(n)."""
        self._heap = [(rank(job), job.id, job) for _, _, job in self._heap]
        heapq.heapify(self._heap)
