"""ConServe (arXiv 2410.01228v2, ICML 2026), as far as iterations that cannot be cut allow.

Read in digests of the paper; its code (on vLLM 0.8.4) is not public. Goes with the KV manager
``eager_checkpoint``, which saves and prefetches offline KV as ConServe does.

Exact as far as the digests go: online requests first; offline tokens, decodes or parts of prompts,
while the iteration's predicted time, which knows the tokens computed and the context they attend
to, stays within the online TBT (TPOT) target; without online requests batches are made for
throughput; online requests that lack memory take it from offline ones, which go on from what was
saved.

Gaps, hence ``conserve_like``:
- No safepoints. ConServe checks every few layers whether an online arrival would miss its TTFT, and
  then drops the rest of an offline batch within some 13 ms. Here KV is committed when an iteration
  starts. Instead one without online requests takes at most ``offline_ttft_share`` of the tightest
  TTFT target seen so far: that costs some throughput, and wastes no work.
- The TBT target is the tightest TPOT target of the online requests at hand, the same for all.
- The predictor is `ReplicaView.estimate`, not the paper's polynomial; the prefetch is not in it.
- Offline requests in order of arrival, the last one preempted first (inferred).
"""

import math
from dataclasses import dataclass
from typing import Annotated

from annotated_doc import Doc
from annotated_types import Gt, Le

from bros_sim.core.request import ServiceClass
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.co_serving import CoServingScheduler
from bros_sim.schedulers.ordered.scheduler import OrderedParameters


class ConserveLikeScheduler(CoServingScheduler):
    """Online first, offline within the tightest TBT target at hand."""

    parameters: "ConserveLikeParameters"

    def __init__(self, parameters: "ConserveLikeParameters") -> None:
        super().__init__(parameters)
        self._targets: dict[int, float] = {}  # TPOT of online requests that wait or run
        self._tightest_ttft_s = math.inf

    def bound_s(self) -> float:
        """The online TBT target, or what an online request that arrives in the meantime bears."""
        if self._targets:
            return min(self._targets.values())
        return self.parameters.offline_ttft_share * self._tightest_ttft_s

    def submit(self, seq: SequenceView) -> bool | None:
        if seq.service_class is ServiceClass.RT:
            self._targets[seq.id] = seq.slo.pace_s
            if seq.slo.ttft_s is not None:
                self._tightest_ttft_s = min(self._tightest_ttft_s, seq.slo.ttft_s)
        return super().submit(seq)

    def finished(self, seq: SequenceView) -> None:
        super().finished(seq)
        self._targets.pop(seq.id, None)


@dataclass(frozen=True)
class ConserveLikeParameters(OrderedParameters):
    """ConServe without layer-wise preemption: offline tokens within the online TBT target."""

    makes = ConserveLikeScheduler
    fidelity = "like"
    mirrors = "ConServe (arXiv 2410.01228v2), from digests, without layer-wise preemption"

    offline_ttft_share: Annotated[
        float,
        Gt(0),
        Le(1),
        Doc("longest iteration without online requests, in tightest TTFT targets (inferred)"),
    ] = 0.5
