"""The SimPy shell: arrivals, closed-loop clients and engines on one clock.

The only module that knows SimPy. Every engine has at most one live event, at `Engine.due`; when a
request arrives inside a stretch, the stretch is cut and a new event is set. At one instant arrivals
and clients come first, then ends of iterations in order of the engines, then plans: a plan made at
an instant sees all that arrived at it.
"""

import gc
from collections import abc
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from heapq import merge

import simpy
from simpy.events import NORMAL, Event, EventPriority

from bros_sim.cluster.routers.base import HoldingRouter, Router
from bros_sim.core.clock import TICK_S, on_grid
from bros_sim.core.request import Request
from bros_sim.engine.engine import Engine
from bros_sim.engine.kv_cache import Direction
from bros_sim.engine.record import RunRecord
from bros_sim.engine.sequence import Sequence
from bros_sim.workload.streams import ClosedLoop, OpenLoop

STEP_END = NORMAL + 1
"""Priority of the end of replica 0's step; those of the others come right after it."""
PLAN = EventPriority(1 << 30)

REJECTED_PAUSE_S = 1.0
"""A closed-loop client whose request is rejected waits at least this long before its next."""


def simulate(
    *,
    replicas: abc.Sequence[Engine],
    router: Router,
    sources: abc.Sequence[OpenLoop | ClosedLoop],
    duration_s: float,
    drain_s: float,
) -> RunRecord:
    """Run a cluster: requests arrive until ``duration_s``, then it drains for at most ``drain_s``.

    All replicas write into one log; what is unfinished at the end is logged as such.
    """
    log = replicas[0].log
    for replica in replicas:  # now: a KV manager may have more blocks, or fewer, in the end
        log.add_engine(
            replica.id,
            "",
            "",
            block_size=replica.kv.block_size,
            kv_blocks=replica.kv.usable_blocks,
            up_s=0.0,
        )
    cluster = _Cluster(replicas, router, on_grid(duration_s))
    cluster.serve(sources)
    with without_cyclic_gc():
        cluster.run(on_grid(duration_s + drain_s))
    return log.record(duration_s)


@contextmanager
def without_cyclic_gc() -> Iterator[None]:
    """Nothing that a run lets go of is cyclic; looking for cycles can take most of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Alarm(Event):
    """A SimPy time-out with a priority of its own."""

    def __init__(
        self,
        env: simpy.Environment,
        delay: float,
        priority: EventPriority,
        action: Callable[[], None],
    ) -> None:
        super().__init__(env)
        self._ok, self._value = True, None
        self.callbacks = [lambda _: action()]
        env.schedule(self, priority, delay)


class _Cluster:
    def __init__(self, replicas: abc.Sequence[Engine], router: Router, duration_s: float) -> None:
        self.env = simpy.Environment(initial_time=0.0)
        self._router = router
        self._holder = router if isinstance(router, HoldingRouter) else None
        self._held: dict[int, tuple[Sequence, int]] = {}
        self._duration_s = duration_s
        self._replicas = replicas
        self._servers = [_Server(self, replica) for replica in replicas]
        self._arrived = 0
        self._clients: dict[int, Event] = {}

    def serve(self, sources: abc.Sequence[OpenLoop | ClosedLoop]) -> None:
        """Let requests arrive; at one instant in order of the streams, then of their positions."""
        timed = [source.requests for source in sources if isinstance(source, OpenLoop)]
        self.env.process(self._open_loop(merge(*timed, key=self._arrival_s)))
        for source in sources:
            if isinstance(source, ClosedLoop):
                requests = _Numbered(source)
                size = source.clients if source.whole_batch else 1
                for _ in range(source.clients // size):
                    self.env.process(self._client(requests, size, on_grid(source.think_time_s)))

    def _arrival_s(self, request: Request) -> float:
        """On the clock's grid, and before the end of the arrivals, whatever the rounding."""
        return min(on_grid(request.arrival_s), self._duration_s - TICK_S)

    def run(self, until_s: float) -> None:
        """Run to the end, or until nothing is left to happen."""
        self.env.run(until=until_s)
        for replica in self._replicas:
            replica.close(until_s)
        for seq, replica_index in self._held.values():
            self._replicas[replica_index].log.add_request(seq, replica_index, "unfinished")

    def arrive(self, request: Request) -> Sequence | None:
        """A request reaches the cluster now; None when its replica rejects it."""
        seq = Sequence(self._arrived, request, self.env.now)
        self._arrived += 1
        index = self._router.route(request, self._replicas)
        if self._holder is None or not self._replicas[index].fits(request):
            return seq if self._servers[index].submit(seq) else None
        self._holder.hold(seq, index)
        self._held[seq.id] = (seq, index)
        rejected = [] if self._servers[index].hurry() else self.pull(index)
        self.answer(rejected, served=False)
        return None if seq in rejected else seq

    def pull(self, index: int) -> list[Sequence]:
        """Hand over what the router has for a replica that computes nothing; whom it rejects."""
        rejected: list[Sequence] = []
        if self._holder is None:
            return rejected
        replica, server = self._replicas[index], self._servers[index]
        while (pulled := self._holder.pull(index, replica, self.env.now)) is not None:
            seq, _ = self._held.pop(pulled.id)
            if not server.submit(seq):
                rejected.append(seq)
        return rejected

    def answer(self, seqs: abc.Sequence[Sequence], *, served: bool) -> bool:
        """Tell the clients of requests that finished or were rejected; whether any can react."""
        waiting = [event for seq in seqs if (event := self._clients.pop(seq.id, None))]
        for event in waiting:
            event.succeed(served)
        return bool(waiting)

    def _open_loop(self, requests: Iterator[Request]) -> Generator[Event, None, None]:
        for request in requests:
            delay = self._arrival_s(request) - self.env.now
            if delay > 0:
                yield self.env.timeout(delay)
            self.arrive(request)

    def _client(
        self, requests: "_Numbered", size: int, think_s: float
    ) -> Generator[Event, bool, None]:
        """A client that keeps ``size`` requests out, all of them answered before the next."""
        while self.env.now < self._duration_s:
            seqs = [self.arrive(requests.next(self.env.now)) for _ in range(size)]
            all_served, answers = all(seqs), []
            for seq in filter(None, seqs):
                self._clients[seq.id] = event = self.env.event()
                answers.append(event)
            for event in answers:
                served = yield event
                all_served = all_served and served
            pause = think_s if all_served else max(think_s, REJECTED_PAUSE_S)
            if pause > 0:
                yield self.env.timeout(pause)


class _Numbered:
    """The requests of a closed-loop stream, in order of issue over all its clients."""

    def __init__(self, source: ClosedLoop) -> None:
        self._source = source
        self._issued = 0

    def next(self, now: float) -> Request:
        self._issued += 1
        return self._source.request(self._issued - 1, now)


class _Server:
    """An engine and its one live event."""

    def __init__(self, cluster: _Cluster, engine: Engine) -> None:
        self._cluster = cluster
        self._env = cluster.env
        self._engine = engine
        self._step_end = EventPriority(STEP_END + engine.id)
        self._alarm = 0
        self._planned = False
        self._link = {way: simpy.Resource(cluster.env) for way in Direction}
        self._copying = 0
        self._computing = False

    def submit(self, seq: Sequence) -> bool:
        """Hand a request over; False when the engine refuses it."""
        due = self._engine.due
        self._engine.catch_up(self._env.now)
        if self._engine.submit(seq) is not None:
            return False
        if self._engine.due != due:
            self._set_alarm(self._engine.due, self._step_end, self._end_forward)
        elif not (self._engine.busy or self._planned):
            self._plan_soon()
        return True

    def hurry(self) -> bool:
        """End with the iteration under way, as somebody arrived; False if none is."""
        if not self._engine.busy:
            return False
        due = self._engine.due
        self._engine.catch_up(self._env.now)
        self._engine.cut()
        if self._engine.due != due:
            self._set_alarm(self._engine.due, self._step_end, self._end_forward)
        return True

    def _plan_soon(self) -> None:
        """Plan when everything else that happens at this instant has happened."""
        self._planned = True
        self._set_alarm(self._env.now, PLAN, self._begin)

    def _begin(self) -> None:
        self._planned = False
        self._cluster.answer(self._engine.begin(self._env.now), served=False)
        if not self._engine.busy:
            return
        for way, seconds in self._engine.copies_s().items():
            self._copying += 1
            self._env.process(self._copy(way, seconds))
        self._computing = True
        self._set_alarm(self._engine.due, self._step_end, self._end_forward)

    def _copy(self, way: Direction, seconds: float) -> Generator[Event, None, None]:
        """One direction of the host link is busy; the step waits for it."""
        with self._link[way].request() as turn:
            yield turn
            yield self._env.timeout(seconds)
        self._copying -= 1
        if not self._computing and not self._copying:
            self._set_alarm(self._env.now, self._step_end, self._end_step)

    def _end_forward(self) -> None:
        self._computing = False
        if not self._copying:
            self._end_step()

    def _end_step(self) -> None:
        """Plan on, at once unless something else can still happen at this instant."""
        done = self._engine.proceed(self._env.now)
        reacting = self._cluster.answer(done, served=True)
        rejected = self._cluster.pull(self._engine.id)
        reacting = self._cluster.answer(rejected, served=False) or reacting
        if reacting or self._env.peek() <= self._env.now:
            self._plan_soon()
        else:
            self._begin()

    def _set_alarm(self, at_s: float, priority: EventPriority, action: Callable[[], None]) -> None:
        """Only the alarm set last rings."""
        self._alarm += 1
        number = self._alarm

        def ring() -> None:
            if self._alarm == number:
                action()

        _Alarm(self._env, at_s - self._env.now, priority, ring)
