"""The idea of Tempo: serve for service gain (arXiv 2504.20068v1; v3 is JITServe, NSDI '26).

Known from the abstract, notes on the NSDI text and the authors' code (UIUC-MLSys/JITServe, 95fc1de,
scheduler/policy.py); the paper itself was not at hand, hence ``_like``.

After those: a request's gain is its prompt tokens plus 8 times its output tokens, less for what
comes late, in proportion to the delay. Its priority is its gain density: gain over the time that it
still takes, at the pace of the present batch. A high quantile bounds the unknown output length and
is refined as the request goes on. Priorities are renewed every 50 iterations. A running request
gives way only where that gains more than recomputing it costs. Requests without SLO come last.

Gaps:
- The quantile is that of finished requests of the same stream that were longer than this one is
  already; the authors train a quantile regression forest on prompts.
- A request is judged alone: no collective requests, no graphs of dependent calls.
- The batch is filled by density alone; JITServe picks, among those with nearly the highest, some of
  like length (for batches whose cost depends on the longest), and learns how near.
- A victim is worth evicting if the difference of densities over one period exceeds the output that
  its recompute displaces: the authors' "gain over loss", as we read it (inferred). No swapping.
- Who is ahead of its SLO is not paused ("just enough"). Nobody is dropped after a longest wait.
- The pace is the policy's estimate; the authors take the mean of past iterations.
"""

import math
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple

from annotated_doc import Doc
from annotated_types import Ge, Gt, Le

from bros_sim.core.request import Slo
from bros_sim.engine.estimate import Estimate
from bros_sim.engine.latency_model import StepShape
from bros_sim.engine.scheduler import UNTIL_EVENT, Plan, ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.ordered.policy import Rank
from bros_sim.schedulers.ordered.scheduler import OrderedParameters, OrderedScheduler
from bros_sim.schedulers.parameters import Count


class Outlook(NamedTuple):
    """How a policy believes a request to go on, if it is served from ``now`` on."""

    now: float
    output_tokens: int  # length of the whole output
    first_token_s: float  # seconds until the prompt is computed; 0 once it is
    remaining_s: float  # seconds until the last token


@dataclass(frozen=True)
class ServiceGain:
    """Gain of a request (Tempo): prompt tokens, and output tokens ``output_weight`` times as dear.

    What comes late is worth ``(allowed / taken) ** decay`` of that, both counted from arrival.
    """

    output_weight: float
    decay: float

    def of(self, seq: SequenceView, outlook: Outlook) -> float:
        """Gain if it ends as foreseen; tokens that are out count as having been in time.

        Without an end-to-end SLO, TTFT and the last token's deadline judge prompt and output.
        """
        output = outlook.output_tokens
        end_s = outlook.now + outlook.remaining_s - seq.arrival_s
        if seq.slo.e2e_s is not None:
            whole = seq.prompt_tokens + self.output_weight * output
            return whole * self._share(seq.slo.e2e_s, end_s)
        allowed_s = seq.slo.deadline(seq.arrival_s, output) - seq.arrival_s
        late = (output - seq.num_output) * self._share(allowed_s, end_s)
        prompt: float = seq.prompt_tokens
        if not seq.num_output and seq.slo.ttft_s is not None:
            first_s = outlook.now + outlook.first_token_s - seq.arrival_s
            prompt *= self._share(seq.slo.ttft_s, first_s)
        return prompt + self.output_weight * (seq.num_output + late)

    def density(self, seq: SequenceView, outlook: Outlook) -> float:
        """Gain for each second that it still takes."""
        return self.of(seq, outlook) / outlook.remaining_s

    def _share(self, allowed_s: float, taken_s: float) -> float:
        return 1.0 if taken_s <= allowed_s else float((allowed_s / taken_s) ** self.decay)


@dataclass
class LengthsSeen:
    """Upper bounds of output lengths, from the last ``memory`` finished requests of each client."""

    quantile: float
    memory: int = 1000
    _recent: dict[str, deque[int]] = field(default_factory=lambda: defaultdict(deque))
    _sorted: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def add(self, client: str, tokens: int) -> None:
        """A request of that client ended after so many output tokens."""
        recent, ordered = self._recent[client], self._sorted[client]
        recent.append(tokens)
        insort(ordered, tokens)
        if len(recent) > self.memory:
            del ordered[bisect_left(ordered, recent.popleft())]

    def bound(self, client: str, generated: int, cap: int) -> int:
        """The quantile of the lengths above ``generated``; ``cap`` where none is, never more."""
        ordered = self._sorted[client]
        first = bisect_right(ordered, generated)
        longer = len(ordered) - first
        return min(cap, ordered[first + math.ceil(self.quantile * longer) - 1]) if longer else cap


class TempoLikeScheduler(OrderedScheduler):
    """The highest gain density first."""

    parameters: "TempoLikeParameters"
    _estimate: Estimate

    def __init__(self, parameters: "TempoLikeParameters") -> None:
        super().__init__(parameters)
        self._densities: dict[int, float] = {}
        self._unjudged: list[SequenceView] = []  # who came to wait since the last plan
        self._iterations = 0
        self._pace_s = 1.0  # seconds of an iteration of the present batch
        self._gain = ServiceGain(parameters.output_weight, parameters.decay)
        self._lengths = LengthsSeen(parameters.length_quantile)

    def rank(self, seq: SequenceView, now: float) -> Rank:
        return (seq.slo == Slo(), -self._density(seq, now))

    def may_evict(self, victim: SequenceView, taker: SequenceView, now: float) -> bool:
        """Whether a period of the taker gains more than the victim's recompute displaces."""
        if not self.rank(taker, now) < self.rank(victim, now):
            return False
        kept = 0.0 if victim.slo == Slo() else self._density(victim, now)
        gained = (self._density(taker, now) - kept) * self.parameters.period * self._pace_s
        lost_s = self._prompt_s(max(victim.num_computed, 1), 0)
        return gained > self.parameters.output_weight * lost_s / self._pace_s

    def lasts(self, view: ReplicaView) -> int:
        """Densities order those who wait; while nobody does, nothing depends on them."""
        return 1 if self._waiting else UNTIL_EVENT

    def submit(self, seq: SequenceView) -> None:
        self._densities[seq.id] = 0.0
        self._unjudged.append(seq)
        super().submit(seq)

    def finished(self, seq: SequenceView) -> None:
        self._lengths.add(seq.stream, seq.num_output)
        self._densities.pop(seq.id, None)
        super().finished(seq)

    def begin(self, view: ReplicaView) -> None:
        self._estimate = view.estimate
        seqs, kv_tokens = view.num_decodes, sum(view.decode_kv_by_class)
        self._pace_s = self._estimate.step_s(StepShape((), max(seqs, 1), max(kv_tokens, 1)))
        periods = self._iterations // self.parameters.period
        self._iterations += len(view.last_durations_s)
        if not len(view.batch):
            self._iterations = 0
        if self._iterations // self.parameters.period != periods:
            self._densities.clear()
        for seq in self._unjudged:
            self._densities.pop(seq.id, None)
        if self._unjudged or not self._densities:
            self.rerank(view.now)
        self._unjudged.clear()

    def settle(self, plan: Plan, view: ReplicaView) -> None:
        self._unjudged += plan.evicted

    def _density(self, seq: SequenceView, now: float) -> float:
        """As judged at the first time that it was asked for in this period."""
        if seq.id not in self._densities:
            self._densities[seq.id] = self._gain.density(seq, self._outlook(seq, now))
        return self._densities[seq.id]

    def _outlook(self, seq: SequenceView, now: float) -> Outlook:
        bound = self._lengths.bound(seq.stream, seq.num_output, seq.max_tokens)
        output = max(bound, seq.num_output + 1)
        lacking, ahead = seq.num_tokens - seq.num_computed, output - seq.num_output
        if lacking == 1:
            return Outlook(now, output, 0.0, ahead * self._pace_s)
        prompt_s = self._prompt_s(lacking, seq.num_computed)
        return Outlook(now, output, prompt_s, prompt_s + (ahead - 1) * self._pace_s)

    def _prompt_s(self, tokens: int, context: int) -> float:
        """Seconds that computing so many tokens takes by itself."""
        return self._estimate.step_s(StepShape(((tokens, context),), 0, 0))


@dataclass(frozen=True)
class TempoLikeParameters(OrderedParameters):
    """After Tempo: the request that gains most for each second of service comes first."""

    makes = TempoLikeScheduler
    fidelity = "like"
    mirrors = "the idea of Tempo / JITServe (arXiv 2504.20068), gaps in its docstring"

    output_weight: Annotated[float, Ge(0), Doc("gain of an output token to a prompt token's")] = 8.0
    decay: Annotated[float, Ge(0), Doc("power with which lateness takes gain away")] = 1.0
    length_quantile: Annotated[
        float, Gt(0), Le(1), Doc("quantile of finished outputs that bounds a length")
    ] = 0.95
    period: Annotated[Count, Doc("iterations after which priorities are renewed")] = 50
