"""Waiting queues in vLLM's two orders."""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol

from bros_sim.job import JobView


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
