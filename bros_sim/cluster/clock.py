"""The clock: a SimPy environment whose alarms have priorities.

At one instant arrivals and clients come first, then ends of iterations in order of the engines,
then plans: a plan made at an instant sees all that arrived at it.
"""

from collections.abc import Callable

import simpy
from simpy.events import NORMAL, Event, EventPriority, Timeout

PLAN = EventPriority(1 << 30)


def iteration_end(engine: int) -> EventPriority:
    """Priority of the end of an engine's iteration."""
    return EventPriority(NORMAL + 1 + engine)


class Clock(simpy.Environment):
    """What happens next; an alarm happens by its own priority."""

    def schedule(self, event: Event, priority: EventPriority = NORMAL, delay: float = 0) -> None:
        """Of an alarm the priority is its own."""
        if isinstance(event, Alarm):
            priority = event.priority
        super().schedule(event, priority, delay)


class Alarm(Timeout):
    """Calls ``action`` with itself at an instant."""

    def __init__(
        self, clock: Clock, at_s: float, priority: EventPriority, action: Callable[[Event], None]
    ) -> None:
        self.priority = priority
        super().__init__(clock, at_s - clock.now)
        self.callbacks.append(action)
