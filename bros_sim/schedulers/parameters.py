"""What YAML sets of a scheduler."""

from typing import ClassVar

from bros_sim.core.world import Parameters, World
from bros_sim.engine.scheduler import Scheduler


class SchedulerParameters(Parameters):
    """Base of the schedulers' parameters: frozen dataclasses whose fields are the YAML's keys."""

    needs_reserving_kv: ClassVar[bool] = False
    """Whether it never preempts, so that the KV manager must reserve (`KvParameters.reserves`)."""

    @property
    def overhead_share(self) -> float:
        """Share of every iteration that the scheduler itself takes, beyond the latency model's."""
        return 0.0

    def make(self, world: World) -> Scheduler:
        """The scheduler of one replica."""
        raise NotImplementedError
