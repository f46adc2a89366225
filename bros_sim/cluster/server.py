"""A server: an engine in the cluster, with its one live event and its link to the host."""

from collections import abc
from collections.abc import Callable
from typing import Protocol

from simpy.events import Event, EventPriority

from bros_sim.cluster.clock import PLAN, Alarm, Clock, iteration_end
from bros_sim.cluster.front_end import FrontEnd, Intake
from bros_sim.core.request import Request
from bros_sim.engine.engine import Engine
from bros_sim.engine.kv_cache import Direction
from bros_sim.engine.sequence import Sequence


class Listener(Protocol):
    """Who hears what an engine is done with."""

    def ended(self, engine: int, done: abc.Sequence[Sequence]) -> bool:
        """Iterations of an engine ended, and so did these; whether any client can react."""

    def refused(self, seqs: abc.Sequence[Sequence]) -> None:
        """An engine refuses requests that it took before."""


class Link:
    """One direction of a link: transfers queue on it, first come, first served."""

    def __init__(self) -> None:
        self._free_s = 0.0

    def transfer(self, now: float, seconds: float) -> float:
        """When a transfer that is asked for at ``now``, and takes so long, is over."""
        self._free_s = max(now, self._free_s) + seconds
        return self._free_s


class Server:
    """Drives an engine: it plans when something has happened, and at the end of iterations.

    When a request arrives inside a stretch, the stretch is cut and a new event is set.
    """

    def __init__(
        self, engine: Engine, clock: Clock, listener: Listener, front_end: FrontEnd | None = None
    ) -> None:
        self.engine = engine
        self._intake = Intake(front_end) if front_end else None
        self._clock = clock
        self._listener = listener
        self._end = iteration_end(engine.id)
        self._alarm: Alarm | None = None
        self._action = self._begin
        self._planned = False
        self._links = {way: Link() for way in Direction}

    def handed_over_s(self, request: Request) -> float:
        """When the engine has a request that arrives now."""
        if self._intake is None:
            return self._clock.now
        running = len(self.engine.batch)
        return self._intake.handed_over_s(self._clock.now, request.prompt_tokens, running)

    def submit(self, seq: Sequence) -> bool:
        """Hand a request over; False when the engine refuses it."""
        due = self.engine.due
        self.engine.catch_up(self._clock.now)
        if self.engine.submit(seq) is not None:
            return False
        if self.engine.due != due:
            self._set_alarm(self.engine.due, self._end, self._proceed)
        elif not (self.engine.busy or self._planned):
            self._plan_soon()
        return True

    def hurry(self) -> bool:
        """End with the iteration under way, as somebody arrived; False if none is."""
        if not self.engine.busy:
            return False
        due = self.engine.due
        self.engine.catch_up(self._clock.now)
        self.engine.cut()
        if self.engine.due != due:
            self._set_alarm(self.engine.due, self._end, self._proceed)
        return True

    def _plan_soon(self) -> None:
        """Plan when all else that happens at this instant has happened."""
        self._planned = True
        self._set_alarm(self._clock.now, PLAN, self._begin)

    def _begin(self) -> None:
        self._planned = False
        now = self._clock.now
        if refused := self.engine.begin(now):
            self._listener.refused(refused)
        if not self.engine.busy:
            return
        end_s = self.engine.due
        for way, seconds in self.engine.copies_s().items():
            end_s = max(end_s, self._links[way].transfer(now, seconds))
        self._set_alarm(end_s, self._end, self._proceed)

    def _proceed(self) -> None:
        """Plan on, at once unless something else can still happen at this instant."""
        done = self.engine.proceed(self._clock.now)
        reacting = self._listener.ended(self.engine.id, done)
        if reacting or self._clock.peek() <= self._clock.now:
            self._plan_soon()
        else:
            self._begin()

    def _set_alarm(self, at_s: float, priority: EventPriority, action: Callable[[], None]) -> None:
        self._action = action
        self._alarm = Alarm(self._clock, at_s, priority, self._ring)

    def _ring(self, alarm: Event) -> None:
        """Only the alarm set last counts."""
        if alarm is self._alarm:
            self._action()
