"""HyGen (arXiv 2501.14808v4, NeurIPS 2025): offline requests within a latency budget.

Read in digests of the paper; its code (UIUC-MLSys/HyGen, on Sarathi-Serve) could not be read.

Exact as far as the digests go (Algorithm 1): online requests first in order of arrival, then
offline ones, running before waiting, while the predicted time of the batch stays within the latency
budget, the tokens within the chunk size, and memory suffices; chunks of offline prompts are as long
as fits. Online requests preempt offline ones, which wait in the order of a walk through the tree of
their prefixes, so that those that share one follow each other and hit it.

Simplified, and why:
- The paper's profiler finds the largest budget that keeps the SLO by binary search over test runs:
  sweep ``latency_budget_s`` to do the same. By default it is the tightest TPOT target of the online
  requests seen so far, the plain choice that the paper improves on.
- It binds offline requests alone (inferred), by `ReplicaView.estimate`, not by a regression.
- Starvation prevention: the paper weighs the walk against the age of requests by a utility ratio
  that the digests do not give. Here a ``fairness`` share of offline admissions goes to the oldest.
- Preempted requests are recomputed, except for what a cache still holds (the paper keeps their
  state, by a choice the digests do not give); no pipeline parallelism.
"""

import math
from bisect import insort
from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from itertools import count
from operator import attrgetter
from typing import Annotated

from annotated_doc import Doc
from annotated_types import Ge, Gt, Le

from bros_sim.core.request import ServiceClass
from bros_sim.engine.scheduler import ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.co_serving import CoServingScheduler
from bros_sim.schedulers.ordered.policy import Rank, RankedQueue
from bros_sim.schedulers.ordered.scheduler import OrderedParameters

RT = ServiceClass.RT


class PrefixQueue(RankedQueue):
    """Online requests by arrival, then offline ones by a walk through the tree of their prefixes.

    The walk is depth-first. Branches are visited in order of their first request, so without shared
    prefixes the order is that of arrival. A ``fairness`` share of those taken out is the oldest.
    """

    def __init__(self, fairness: float) -> None:
        super().__init__()
        self._fairness = fairness
        self._by_prefix: list[SequenceView] = []
        self._by_age: list[SequenceView] = []
        self._new: list[SequenceView] = []
        self._branches = count(1)
        self._numbers = defaultdict[Hashable, int](self._branches.__next__)  # of prefixes
        self.places: dict[int, tuple[int, ...]] = {}  # in the tree, once sorted in
        self._taken = 0

    def __len__(self) -> int:
        return super().__len__() + len(self._by_age) + len(self._new)

    def __iter__(self) -> Iterator[SequenceView]:
        """Requests in the order of service; offline ones that just came last."""
        yield from super().__iter__()
        yield from self._offline_in_order()
        yield from self._new

    def push(self, seq: SequenceView, rank: Rank) -> None:
        """Add a request; an offline one takes its place with the next `sort_in`."""
        if seq.service_class is ServiceClass.RT:
            super().push(seq, rank)
        else:
            self._new.append(seq)

    def pop(self) -> SequenceView:
        if super().__len__():
            return super().pop()
        seq = next(self._offline_in_order())
        self._taken += 1
        self._by_prefix.remove(seq)
        self._by_age.remove(seq)
        return seq

    def sort_in(self, block_size: int) -> None:
        """Give those that just came their places."""
        for seq in self._new:
            if seq.id not in self.places:
                numbers = tuple(self._numbers[key] for key in seq.block_keys(block_size))
                self.places[seq.id] = numbers or (next(self._branches),)
            insort(self._by_prefix, seq, key=lambda seq: (self.places[seq.id], seq.id))
            insort(self._by_age, seq, key=attrgetter("id"))
        self._new = []

    def _offline_in_order(self) -> Iterator[SequenceView]:
        seen: set[int] = set()
        by_prefix, by_age = iter(self._by_prefix), iter(self._by_age)
        for taken in range(self._taken, self._taken + len(self._by_age)):
            oldest = int((taken + 1) * self._fairness) > int(taken * self._fairness)
            seq = next(x for x in (by_age if oldest else by_prefix) if x.id not in seen)
            seen.add(seq.id)
            yield seq


class HygenScheduler(CoServingScheduler):
    """Online first, offline requests in the order of a `PrefixQueue`."""

    parameters: "HygenParameters"
    _waiting: PrefixQueue

    def __init__(self, parameters: "HygenParameters") -> None:
        super().__init__(parameters)
        self._tightest_s = math.inf
        self._waiting = PrefixQueue(parameters.fairness)

    def bound_s(self) -> float:
        budget_s = self.parameters.latency_budget_s
        return self._tightest_s if budget_s is None else budget_s

    def rank(self, seq: SequenceView, now: float) -> Rank:
        place = () if seq.service_class is RT else self._waiting.places.get(seq.id, ())
        return (*super().rank(seq, now), *place)

    def begin(self, view: ReplicaView) -> None:
        self._waiting.sort_in(view.kv.block_size)  # only now it is known, and with it prefixes
        super().begin(view)

    def submit(self, seq: SequenceView) -> bool | None:
        if seq.service_class is RT and seq.slo.tpot_s is not None:
            self._tightest_s = min(self._tightest_s, seq.slo.tpot_s)
        return super().submit(seq)

    def finished(self, seq: SequenceView) -> None:
        super().finished(seq)
        self._waiting.places.pop(seq.id, None)


@dataclass(frozen=True)
class HygenParameters(OrderedParameters):
    """HyGen: online FCFS, offline by shared prefixes within a predicted latency budget."""

    makes = HygenScheduler
    fidelity = "reconstructed"
    mirrors = "HyGen (arXiv 2501.14808v4), reconstructed from digests: latency budget not profiled"

    latency_budget_s: Annotated[
        Annotated[float, Gt(0)] | None,
        Doc("longest predicted iteration with offline work; default: the tightest TPOT target"),
    ] = None
    fairness: Annotated[
        float, Ge(0), Le(1), Doc("share of offline admissions that goes to the oldest (inferred)")
    ] = 0.1
