"""HyGen (arXiv 2501.14808v4, NeurIPS 2025): offline requests within a latency budget.

Read in digests of the paper; its code (UIUC-MLSys/HyGen, on Sarathi-Serve) could not be read.

Exact as far as the digests go: two phases (Algorithm 1), online requests first in order of arrival,
then offline ones, running before waiting, while the predicted time of the batch stays within the
latency budget, the tokens within the chunk size, and memory suffices; chunks of offline prompts are
as long as fits. Online requests preempt offline ones. Offline requests wait in the order of a walk
through the tree of their prefixes, so that those that share one follow each other and hit it.

Simplified, and why:
- The budget is a parameter. The paper's profiler finds the largest one that keeps the SLO by binary
  search over test runs: sweep ``latency_budget_s`` to do the same. By default it is the tightest
  TPOT target among the online requests seen so far, the plain choice that the paper improves on.
- The budget binds offline requests alone (inferred): what online ones need is never put off.
- The predictor is `ReplicaView.estimate`, not a regression on token counts.
- Starvation prevention: the paper weighs the walk against the age of requests by a utility ratio
  that the digests do not give. Here a ``fairness`` share of offline admissions goes to the oldest.
- Preempted requests are recomputed, except for what a cache still holds (the paper keeps their
  state, by a choice the digests do not give); no pipeline parallelism.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_doc import Doc
from annotated_types import Ge, Gt, Le

from bros_sim.core.request import ServiceClass
from bros_sim.core.world import Fidelity, World
from bros_sim.engine.scheduler import ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.co_serving import CoServingScheduler
from bros_sim.schedulers.hygen_queue import PrefixQueue
from bros_sim.schedulers.ordered.scheduler import OrderedParameters
from bros_sim.schedulers.queues import Rank

RT = ServiceClass.RT


@dataclass(frozen=True)
class HygenParameters(OrderedParameters):
    """HyGen: online FCFS, offline by shared prefixes within a predicted latency budget."""

    fidelity: ClassVar[Fidelity] = "reconstructed"

    latency_budget_s: Annotated[
        Annotated[float, Gt(0)] | None,
        Doc("longest predicted iteration with offline work; default: the tightest TPOT target"),
    ] = None
    fairness: Annotated[
        float, Ge(0), Le(1), Doc("share of offline admissions that goes to the oldest (inferred)")
    ] = 0.1

    @property
    def mirrors(self) -> str:
        return "HyGen (arXiv 2501.14808v4), reconstructed from digests: latency budget not profiled"

    def make(self, world: World) -> "HygenScheduler":
        return HygenScheduler(self)


class HygenScheduler(CoServingScheduler):
    """Online first, offline requests in the order of a `PrefixQueue`."""

    _waiting: PrefixQueue

    def __init__(self, parameters: HygenParameters) -> None:
        super().__init__(parameters)
        self.latency_budget_s = parameters.latency_budget_s
        self._tightest_s = math.inf
        self._waiting = PrefixQueue(parameters.fairness)

    def bound_s(self) -> float:
        """The latency budget."""
        return self._tightest_s if self.latency_budget_s is None else self.latency_budget_s

    def rank(self, seq: SequenceView, now: float) -> Rank:
        """As of both phases; offline ones by their place in the tree of prefixes."""
        place = () if seq.service_class is RT else self._waiting.place(seq)
        return (*super().rank(seq, now), *place)

    def begin(self, view: ReplicaView) -> None:
        """Only now the size of blocks is known, and with it prefixes."""
        self._waiting.sort_in(view.kv.block_size)
        super().begin(view)

    def submit(self, seq: SequenceView) -> bool | None:
        if seq.service_class is RT and seq.slo.tpot_s is not None:
            self._tightest_s = min(self._tightest_s, seq.slo.tpot_s)
        return super().submit(seq)

    def finished(self, seq: SequenceView) -> None:
        super().finished(seq)
        self._waiting.forget(seq)
