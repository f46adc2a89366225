"""A stretch: like iterations of an engine that are planned at once, and how long they take."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bros_sim.core.clock import TICK_S, on_grid, to_grid
from bros_sim.engine.batch import Batch
from bros_sim.engine.kv_cache import Direction, KVManager
from bros_sim.engine.latency_model import LatencyModel, StepShape
from bros_sim.engine.link_parameters import HostLink
from bros_sim.engine.noise import StepNoise
from bros_sim.engine.scheduler import Plan
from bros_sim.engine.sequence import SequenceView

NO_FORWARD = np.array([TICK_S])
"""An iteration that only evicts: the engine plans again at once, without a forward pass."""


@dataclass(eq=False)
class Stretch:
    """A plan under way: its iterations, all of one shape.

    ``state``: the columns decode_jobs_rt .. waiting_be of the steps table. ``copied``: tokens that
    are copied meanwhile; the iteration ends when they have arrived.
    """

    plan: Plan
    start_s: float
    ends_s: NDArray[np.float64]
    shape: StepShape
    state: tuple[int, ...]
    copied: dict[Direction, int]
    ended: int = 0
    """How many of its iterations the engine has accounted."""

    @property
    def end_s(self) -> float:
        """When its last iteration ends."""
        return float(self.ends_s[-1])

    @property
    def last_start_s(self) -> float:
        """When its last iteration began."""
        return float(self.ends_s[-2]) if len(self.ends_s) > 1 else self.start_s

    def durations_s(self) -> list[float]:
        """Durations of its iterations."""
        ends: list[float] = self.ends_s.tolist()
        return [end - start for start, end in pairwise([self.start_s, *ends])]

    def ended_before(self, t: float) -> int:
        """How many iterations ended before ``t``; the last never counts."""
        return min(int(np.searchsorted(self.ends_s, t)), len(self.ends_s) - 1)

    def keep(self, iterations: int) -> None:
        """Let only so many iterations be part of it."""
        self.ends_s = self.ends_s[:iterations]

    def forget(self, seq: SequenceView) -> None:
        """What a sequence computes in it is lost."""
        chunks = tuple(chunk for chunk in self.plan.chunks if chunk[0].id != seq.id)
        self.plan = self.plan._replace(chunks=chunks)

    def copies_s(self, link: HostLink, token_bytes: int) -> dict[Direction, float]:
        """Seconds on the host link by direction."""
        cost = {Direction.TO_CPU: link.to_cpu_s, Direction.TO_GPU: link.to_gpu_s}
        return {way: on_grid(cost[way](n * token_bytes)) for way, n in self.copied.items()}

    def row(self, replica: int, extrapolated: int) -> tuple[float, ...]:
        """Its row of the steps table."""
        prefill = sum(tokens for tokens, _ in self.shape.chunks)
        iterations = (len(self.ends_s), prefill, self.shape.decode_jobs)
        copied = (self.copied.get(way, 0) for way in (Direction.TO_CPU, Direction.TO_GPU))
        return (replica, self.start_s, self.end_s, *iterations, *self.state, *copied, extrapolated)


class StepClock:
    """What the iterations of an engine really take, on the grid of the clock."""

    def __init__(
        self,
        latency: LatencyModel,
        overhead_share: float,
        noise: StepNoise | None,
        kv: KVManager | None = None,
    ) -> None:
        self.latency = latency
        self._noise = noise
        self._kv = kv
        self._stretching = 1.0 / (1.0 - overhead_share)

    def shape(self, plan: Plan, batch: Batch) -> StepShape:
        """What an iteration computes. A chunk of one token is a decode to the engine's kernels."""
        cohort = batch.cohort
        decodes, kv_tokens = cohort.size, sum(cohort.kv_tokens)
        if plan.stalls:
            decodes = kv_tokens = 0
        elif self._kv:
            kv_tokens -= self._kv.spared_kv_tokens
        longest = cohort.longest_kv() if self.latency.reads_longest_kv and decodes else 0
        if not plan.chunks:
            return StepShape((), decodes, kv_tokens, longest)
        chunks = [(tokens, seq.num_computed) for seq, tokens in plan.chunks]
        single = [context + 1 for tokens, context in chunks if tokens == 1]
        prefill = tuple(chunk for chunk in chunks if chunk[0] > 1)
        if self.latency.reads_longest_kv:
            longest = max([longest, *single])
        return StepShape(prefill, decodes + len(single), kv_tokens + sum(single), longest)

    def ends_s(self, shape: StepShape, iteration: int, repeat: int) -> NDArray[np.float64]:
        """Cumulated durations of ``repeat`` iterations, of which ``iteration`` is the first."""
        pace = self._kv.pace if self._kv else 1.0
        if repeat <= 1:
            seconds = self.latency.step_s(shape) * self._stretching * pace
            if self._noise:
                seconds *= float(self._noise.factors(iteration, 1)[0])
            return np.array([max(TICK_S, on_grid(seconds))])
        durations = self.latency.decode_s(shape, repeat) * self._stretching * pace
        if self._noise:
            durations *= self._noise.factors(iteration, repeat)
        return np.cumsum(np.maximum(TICK_S, to_grid(durations)))
