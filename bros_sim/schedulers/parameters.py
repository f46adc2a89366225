"""What YAML sets of a scheduler."""

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import Annotated, ClassVar

from annotated_doc import Doc
from annotated_types import Ge, Lt

from bros_sim.core.world import Parameters, World
from bros_sim.engine.estimate import Estimate
from bros_sim.engine.latency_model import StepShape
from bros_sim.engine.scheduler import Scheduler

LONGEST_LOOKAHEAD = 4096
"""Iterations ahead for which a steady batch is judged at once; bounds work, changes no result."""
Count = Annotated[int, Ge(1)]
Share = Annotated[float, Ge(0), Lt(1)]
Seats = Annotated[Count, Doc("most requests that run at a time")]
Watermark = Annotated[Share, Doc("share of all KV blocks kept free when admitting beside others")]


class SchedulerParameters(Parameters):
    """Base of the schedulers' parameters: frozen dataclasses whose fields are the YAML's keys."""

    makes: ClassVar[Callable[..., Scheduler]]
    """Class of the scheduler, which is made of the parameters alone; else override `make`."""
    needs_reserving_kv: ClassVar[bool] = False
    """Whether it never preempts, so that the KV manager must reserve (`KvParameters.reserves`)."""

    overhead_share = 0.0
    """Share of every iteration that the scheduler itself takes, beyond the latency model's."""

    @property
    def plans_ahead(self) -> bool:
        """Whether the engine that it mirrors schedules asynchronously by default."""
        return False

    def make(self, world: World) -> Scheduler:
        """The scheduler of one replica."""
        return type(self).makes(self)


def too_few(name: str, budget: int, max_num_seqs: int, longest: int = 0) -> tuple[str, ...]:
    """Every running request has to find a token in the budget; a whole prompt room if not cut."""
    if budget < max_num_seqs:
        return (f"{name} {budget} is below max_num_seqs {max_num_seqs}",)
    if budget < longest:
        prompt = "a whole prompt could never run"
        return (f"{name} {budget} is below the model length {longest}: {prompt}",)
    return ()


def steady_steps(estimate: Estimate, decodes: int, kv_tokens: int, bound_s: float) -> int:
    """How many iterations in a row these decodes, whose KV grows, take no longer than the bound."""
    if math.isinf(bound_s):
        return LONGEST_LOOKAHEAD

    def seconds(ahead: int) -> float:
        return estimate.step_s(StepShape((), decodes, kv_tokens + ahead * decodes))

    return max(bisect_right(range(LONGEST_LOOKAHEAD), bound_s, key=seconds), 1)
