"""A stretch: like iterations of a replica that are advanced at once, and how long they take."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bros_sim.core.clock import TICK_S, on_grid, to_grid
from bros_sim.engine.kv_cache import Direction
from bros_sim.engine.latency_model import LatencyModel, SkewAware, StepShape
from bros_sim.engine.link_parameters import HostLink
from bros_sim.engine.noise import StepNoise
from bros_sim.engine.scheduler import Plan

NO_FORWARD = np.array([TICK_S])
"""An iteration that only evicts: the engine plans again at once, without a forward pass."""


@dataclass(slots=True)
class Stretch:
    """A plan under way: its iterations, all of one shape."""

    plan: Plan
    start_s: float
    ends_s: NDArray[np.float64]
    shape: StepShape
    state: tuple[int, ...]
    """The columns decode_jobs_rt .. waiting_be of the steps table."""
    copied: dict[Direction, int]
    """Tokens that are copied meanwhile; the step ends when they have arrived."""

    @property
    def last_start_s(self) -> float:
        """When its last iteration began."""
        return float(self.ends_s[-2]) if len(self.ends_s) > 1 else self.start_s

    def copies_s(self, link: HostLink, token_bytes: int) -> dict[Direction, float]:
        """Seconds on the host link by direction."""
        cost = {Direction.TO_CPU: link.to_cpu_s, Direction.TO_GPU: link.to_gpu_s}
        return {way: on_grid(cost[way](n * token_bytes)) for way, n in self.copied.items()}

    def row(self, replica: int, extrapolated: int) -> tuple[float, ...]:
        """Its row of the steps table."""
        return (
            replica,
            self.start_s,
            float(self.ends_s[-1]),
            len(self.ends_s),
            sum(tokens for tokens, _ in self.shape.chunks),
            self.shape.decode_jobs,
            *self.state,
            *(self.copied.get(way, 0) for way in (Direction.TO_CPU, Direction.TO_GPU)),
            extrapolated,
        )


@dataclass
class StepClock:
    """What the iterations of a replica really take, on the grid of the clock.

    ``overhead_share`` of an iteration is the scheduler's own. ``noise`` scatters what the latency
    model says.
    """

    latency: LatencyModel
    overhead_share: float
    noise: StepNoise | None
    skewed: SkewAware | None = field(init=False, default=None)
    """The latency model, if it looks at unequal lengths."""
    _stretching: float = field(init=False)

    def __post_init__(self) -> None:
        # What the scheduler's own share of an iteration makes of the engine's time.
        self._stretching = 1.0 / (1.0 - self.overhead_share)
        if isinstance(self.latency, SkewAware):
            self.skewed = self.latency

    def ends_s(
        self, shape: StepShape, iteration: int, repeat: int, pace: float = 1.0
    ) -> NDArray[np.float64]:
        """Cumulated durations of ``repeat`` iterations, of which ``iteration`` is the first.

        ``pace``: a factor on all of them.
        """
        if repeat <= 1:
            seconds = self.latency.step_s(shape) * self._stretching * pace
            if self.noise:
                seconds *= float(self.noise.factors(iteration, 1)[0])
            return np.array([max(TICK_S, on_grid(seconds))])
        if self.skewed:
            durations = self.skewed.skewed_decode_s(shape, repeat)
        else:
            durations = self.latency.decode_s(shape.decode_jobs, shape.kv_tokens, repeat)
        durations = durations * self._stretching * pace
        if self.noise:
            durations *= self.noise.factors(iteration, repeat)
        return np.cumsum(np.maximum(TICK_S, to_grid(durations)))
