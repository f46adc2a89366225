"""Data-parallel ranks of a mixture of experts: their iterations begin and end together."""

from simpy.events import Event, EventPriority

from bros_sim.cluster.clock import PLAN, Alarm, Clock
from bros_sim.cluster.front_end import FrontEnd
from bros_sim.cluster.server import Listener, Server
from bros_sim.engine.engine import Engine

PLANNED = EventPriority(int(PLAN) + 1)


class LockStep:
    """The ranks of one engine: all exchange tokens in every expert block, so none runs ahead.

    A rank without work computes a dummy batch in vLLM, which is never the slowest.
    """

    def __init__(self, clock: Clock) -> None:
        self.end_s = 0.0
        """When the iteration under way ends, or the last one did."""
        self._clock = clock
        self._began: list[Rank] = []

    def began(self, rank: "Rank") -> None:
        """A rank began an iteration now; how long all take is known once each has planned."""
        if not self._began:
            Alarm(self._clock, self._clock.now, PLANNED, self._all_planned)
        self._began.append(rank)

    def _all_planned(self, _: Event) -> None:
        began, self._began = self._began, []
        self.end_s = max(rank.engine.due for rank in began)
        for rank in began:
            rank.end_at(self.end_s)


class Rank(Server):
    """The server of one rank. Its engine has no copies to wait for."""

    def __init__(
        self, engine: Engine, clock: Clock, listener: Listener, front_end: FrontEnd | None,
        ranks: LockStep,
    ) -> None:  # fmt: skip
        super().__init__(engine, clock, listener, front_end)
        self._ranks = ranks

    def end_at(self, t: float) -> None:
        """The iteration under way ends at ``t``, with that of the slowest rank."""
        self.engine.wait_until(t)
        self._set_alarm(t, self._end, self._proceed)

    def _plan_soon(self) -> None:
        """Plan when the iteration under way on other ranks ends."""
        self._planned = True
        self._set_alarm(max(self._clock.now, self._ranks.end_s), PLAN, self._begin)

    def _begin(self) -> None:
        self._planned = False
        if refused := self.engine.begin(self._clock.now):
            self._listener.refused(refused)
        if self.engine.busy:
            self.engine.cut()  # one iteration at a time: others may be slower in the next
            self._ranks.began(self)

    def _proceed(self) -> None:
        self._listener.ended(self.engine.id, self.engine.proceed(self._clock.now))
        self._plan_soon()
