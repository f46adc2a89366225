"""Those who send requests: streams with arrival times, and clients that wait for answers."""

from collections import abc
from collections.abc import Callable, Generator, Iterator
from heapq import merge
from itertools import count

from simpy.events import Event
from simpy.resources.resource import Request as Seat
from simpy.resources.resource import Resource

from bros_sim.cluster.clock import Clock
from bros_sim.core.clock import TICK_S, on_grid
from bros_sim.core.request import Request
from bros_sim.engine.sequence import Sequence
from bros_sim.workload.streams import ClosedLoop, OpenLoop

REJECTED_PAUSE_S = 1.0
"""A closed-loop client whose request is rejected waits at least this long before its next."""


class Clients:
    """All who send requests until ``duration_s``, and wait for answers.

    ``arrive`` lets a request enter the cluster now; None: it is rejected at once.
    """

    def __init__(
        self, clock: Clock, arrive: Callable[[Request], Sequence | None], duration_s: float
    ) -> None:
        self._clock = clock
        self._arrive = arrive
        self._duration_s = duration_s
        self._waiting: dict[int, Event] = {}

    def start(self, sources: abc.Sequence[OpenLoop | ClosedLoop]) -> None:
        """Let requests arrive; at one instant in order of the streams, then of their positions."""
        timed = [source for source in sources if isinstance(source, OpenLoop)]
        free = [source.requests for source in timed if source.max_in_flight is None]
        self._clock.process(self._open_loop(merge(*free, key=self._arrival_s)))
        for capped in timed:
            if capped.max_in_flight is not None:
                self._clock.process(self._capped(capped.requests, capped.max_in_flight))
        for source in sources:
            if isinstance(source, ClosedLoop):
                numbers = count()
                size = source.clients if source.whole_batch else 1
                for _ in range(source.clients // size):
                    self._clock.process(self._client(source, numbers, size))

    def answer(self, seqs: abc.Sequence[Sequence], *, served: bool) -> bool:
        """Tell the clients of requests that finished or were rejected; whether any can react."""
        waiting = [event for seq in seqs if (event := self._waiting.pop(seq.id, None))]
        for event in waiting:
            event.succeed(served)
        return bool(waiting)

    def _arrival_s(self, request: Request) -> float:
        """On the clock's grid, and before the end of the arrivals, whatever the rounding."""
        return min(on_grid(request.arrival_s), self._duration_s - TICK_S)

    def _open_loop(self, requests: Iterator[Request]) -> Generator[Event, None, None]:
        for request in requests:
            delay = self._arrival_s(request) - self._clock.now
            if delay > 0:
                yield self._clock.timeout(delay)
            self._arrive(request)

    def _capped(self, requests: list[Request], most: int) -> Generator[Event, bool, None]:
        """A client that sends each request when it is due and fewer than ``most`` are out."""
        seats = Resource(self._clock, most)
        for request in requests:
            if (delay := self._arrival_s(request) - self._clock.now) > 0:
                yield self._clock.timeout(delay)
            seat = seats.request()
            yield seat
            self._clock.process(self._until_answered(request, seats, seat))

    def _until_answered(
        self, request: Request, seats: Resource, seat: Seat
    ) -> Generator[Event, bool, None]:
        if (seq := self._arrive(request)) is not None:
            self._waiting[seq.id] = answer = self._clock.event()
            yield answer
        yield seats.release(seat)

    def _client(
        self, source: ClosedLoop, numbers: Iterator[int], size: int
    ) -> Generator[Event, bool, None]:
        """A client that keeps ``size`` requests out, all of them answered before the next.

        ``numbers``: of the stream's requests, in order of issue over all its clients.
        """
        think_s = on_grid(source.think_time_s)
        while self._clock.now < self._duration_s:
            requests = [source.request(next(numbers), self._clock.now) for _ in range(size)]
            seqs = [self._arrive(request) for request in requests]
            all_served, answers = all(seqs), []
            for seq in filter(None, seqs):
                self._waiting[seq.id] = event = self._clock.event()
                answers.append(event)
            for event in answers:
                served = yield event
                all_served = all_served and served
            pause = think_s if all_served else max(think_s, REJECTED_PAUSE_S)
            if pause > 0:
                yield self._clock.timeout(pause)
