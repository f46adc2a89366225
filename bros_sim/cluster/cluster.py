"""The run of a cluster: requests arrive, a router sends them to engines, on one clock."""

import gc
from collections import abc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from simpy.events import NORMAL

from bros_sim.cluster.clients import Clients
from bros_sim.cluster.clock import Alarm, Clock
from bros_sim.cluster.front_end import FrontEnd
from bros_sim.cluster.routers.base import HoldingRouter, Router
from bros_sim.cluster.server import Server
from bros_sim.core.clock import on_grid
from bros_sim.core.request import Request, ServiceClass
from bros_sim.engine.engine import Engine
from bros_sim.engine.record import RunLog, RunRecord
from bros_sim.engine.sequence import Sequence
from bros_sim.workload.streams import ClosedLoop, OpenLoop


@dataclass(frozen=True)
class Pool:
    """Equal replicas of a system: ``make`` makes the engine of a number, which writes into a log.

    ``profile`` is what the record calls their GPU and model. A router sees the engines of pools
    that serve the class of the request. Without a ``front_end`` an engine has a request at once.
    """

    replicas: int
    make: Callable[[int, RunLog], Engine]
    name: str = ""
    profile: str = ""
    classes: frozenset[ServiceClass] = frozenset(ServiceClass)
    front_end: FrontEnd | None = None


def simulate(
    *,
    pools: abc.Sequence[Pool],
    router: Router,
    sources: abc.Sequence[OpenLoop | ClosedLoop],
    log: RunLog,
    duration_s: float,
    drain_s: float,
) -> RunRecord:
    """Run a cluster: requests arrive until ``duration_s``, then it drains for at most ``drain_s``.

    All engines write into the log; what is unfinished at the end is logged as such.
    """
    cluster = _Cluster(router, log, on_grid(duration_s))
    for pool in pools:
        for _ in range(pool.replicas):
            cluster.bring_up(pool)
    cluster.clients.start(sources)
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


class _Cluster:
    """Engines by their numbers, and the requests that the router holds for them."""

    def __init__(self, router: Router, log: RunLog, duration_s: float) -> None:
        self._clock = Clock(initial_time=0.0)
        self._router = router
        self._holder = router if isinstance(router, HoldingRouter) else None
        self._log = log
        self._held: dict[int, tuple[Sequence, int]] = {}
        """Requests that the router, or an engine's front end, has."""
        self._servers: dict[int, Server] = {}
        self._serving: dict[ServiceClass, dict[int, Engine]] = {c: {} for c in ServiceClass}
        self._arrived = 0
        self.clients = Clients(self._clock, self.arrive, duration_s)

    def bring_up(self, pool: Pool) -> None:
        """One more engine of a pool."""
        number = len(self._servers)
        engine = pool.make(number, self._log)
        blocks = engine.kv.usable_blocks  # now: a KV manager may have more, or fewer, in the end
        self._log.add_engine(
            number, pool.name, pool.profile, block_size=engine.kv.block_size, kv_blocks=blocks,
            up_s=self._clock.now,
        )  # fmt: skip
        self._servers[number] = Server(engine, self._clock, self, pool.front_end)
        for service_class in pool.classes:
            self._serving[service_class][number] = engine

    def run(self, until_s: float) -> None:
        """Run to the end, or until nothing is left to happen."""
        self._clock.run(until=until_s)
        for server in self._servers.values():
            server.engine.close(until_s)
        for seq, engine in self._held.values():
            self._log.add_request(seq, engine, "unfinished")

    def arrive(self, request: Request) -> Sequence | None:
        """A request reaches the cluster now; None when its engine rejects it."""
        seq = Sequence(self._arrived, request, self._clock.now)
        self._arrived += 1
        serving = self._serving[request.service_class]
        for engine in serving.values():
            engine.catch_up(self._clock.now)  # whatever the router looks at is of this instant
        number = self._router.route(request, serving)
        ready_s = self._servers[number].handed_over_s(request)
        if ready_s <= self._clock.now:
            return seq if self._hand_over(seq, number) else None
        self._held[seq.id] = (seq, number)
        Alarm(self._clock, ready_s, NORMAL, lambda _: self._ready(seq, number))
        return seq

    def _ready(self, seq: Sequence, number: int) -> None:
        """The front end is done with a request; its client may have to hear that it is refused."""
        del self._held[seq.id]
        if not self._hand_over(seq, number):
            self.clients.answer([seq], served=False)

    def _hand_over(self, seq: Sequence, number: int) -> bool:
        """Give a request to an engine, or to the router that holds it back; False if refused."""
        seq.queued_s = self._clock.now
        server = self._servers[number]
        if self._holder is None or server.engine.refusal(seq.request):
            return server.submit(seq)
        self._holder.hold(seq, number)
        self._held[seq.id] = (seq, number)
        rejected = [] if server.hurry() else self._pull(number)
        self.clients.answer(rejected, served=False)
        return seq not in rejected

    def ended(self, engine: int, done: abc.Sequence[Sequence]) -> bool:
        """Iterations of an engine ended, and so did these; whether any client can react."""
        reacting = self.clients.answer(done, served=True)
        if self._holder is None:
            return reacting
        return self.clients.answer(self._pull(engine), served=False) or reacting

    def refused(self, seqs: abc.Sequence[Sequence]) -> None:
        """An engine refuses requests that it took before."""
        self.clients.answer(seqs, served=False)

    def _pull(self, engine: int) -> list[Sequence]:
        """Hand over what the router has for an engine that computes nothing; whom it rejects."""
        rejected: list[Sequence] = []
        if self._holder is None:
            return rejected
        server = self._servers[engine]
        while (pulled := self._holder.pull(engine, server.engine, self._clock.now)) is not None:
            seq, _ = self._held.pop(pulled.id)
            if not server.submit(seq):
                rejected.append(seq)
        return rejected
