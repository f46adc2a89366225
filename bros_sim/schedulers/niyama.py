"""Niyama (arXiv 2503.22562, ASPLOS 2026 as QoServe): chunks from slack, EDF mixed with SRPF.

Rules read in its code, microsoft/sarathi-serve at 72339db (deadline_scheduler.py, sequence.py).

Exact:
- Every decode goes on in every iteration. That gets the most tokens of a fixed grid that by their
  predicted time, times ``safety``, are within the slack of the tightest decode, or the least if
  none are; at most 512 while KV for fewer than 32,000 tokens is free. The first prompt's context
  counts.
- Prompts are served in order of first-token deadline plus ``alpha_s`` for each remaining token; who
  is overtaken keeps its chunks. A request with an end-to-end target has its deadline so long before
  that that its expected output fits in at ``batch_tpot_s``.
- Eager relegation: who has not started and could not finish its prompt in time, at the moving
  average of prompt throughput, is served after all others, once and for all.

Simplified, and why:
- The second output token is due a TPOT after the first, as in the paper and in `Slo.deadline` (the
  code allows one TPOT more); after a late first token the others count from it, as in the code.
- Predicted times are `ReplicaView.estimate`, not the code's two regressions; the moving average
  starts at its throughput for a full iteration (in the code: 8500 tokens/s).
- The expected output is ``max_tokens`` unless ``lengths: oracle`` (in the code it is given, or a
  constant). Best effort without any target comes last. No hints of importance.
- A request starts when its whole prompt fits; if decodes run short of memory, the request last in
  order is recomputed (the code asserts that memory suffices).
"""

import math
from bisect import bisect_right, insort
from collections import abc, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import merge
from typing import Annotated

from annotated_doc import Doc
from annotated_types import Ge, Gt

from bros_sim.engine.latency_model import StepShape
from bros_sim.engine.scheduler import UNTIL_EVENT, Plan, ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.ordered.policy import Rank, completed
from bros_sim.schedulers.ordered.scheduler import LengthParameters, PredictingScheduler
from bros_sim.schedulers.vllm_parameters import Tokens

GRID: tuple[int, ...] = (128, *range(256, 2049, 256), 2552)
"""Tokens that an iteration may have, decodes included."""
LOW_MEMORY_GRID: tuple[int, ...] = (128, 256, 384, 512)
LOW_MEMORY_TOKENS = 32_000
"""With fewer tokens' worth of free KV blocks the smaller grid holds."""
DECAY = 0.995
"""Weight of the past in the moving average of prompt throughput."""
Seconds = Callable[[SequenceView], float]


def largest_chunk(
    view: ReplicaView, limit: int, context: int, slack_s: float, safety: float
) -> int:
    """The most tokens of the grid whose predicted time, times ``safety``, is within the slack.

    The smallest if none is. ``context``: tokens in the cache of the prompt that comes first.
    """
    low = view.kv.free_blocks * view.kv.block_size < LOW_MEMORY_TOKENS
    grid = [size for size in (LOW_MEMORY_GRID if low else GRID) if size <= limit] or [limit]
    decodes, kv_tokens = view.num_decodes, sum(view.decode_kv_by_class)

    def seconds(total: int) -> float:
        prompt = ((total - decodes, context),) if total > decodes else ()
        return safety * view.estimate.step_s(StepShape(prompt, decodes, kv_tokens))

    return grid[max(bisect_right(grid, slack_s, key=seconds) - 1, 0)]


@dataclass
class PromptThroughput:
    """A moving average over the iterations that computed prompts."""

    tokens_s: float = 0.0  # tokens per second; 0 before the first plan
    _planned_s: float = 0.0
    _tokens: int = 0

    def learn(self, view: ReplicaView, limit: int) -> None:
        """See how long the last iteration took; at first, what a full one would."""
        if not self.tokens_s:
            self.tokens_s = limit / view.estimate.step_s(StepShape(((limit, 0),), 0, 0))
        elif self._tokens:
            seen = self._tokens / (view.now - self._planned_s)
            self.tokens_s = DECAY * self.tokens_s + (1 - DECAY) * seen

    def planned(self, now: float, tokens: int) -> None:
        """An iteration with so many prompt tokens begins."""
        self._planned_s, self._tokens = now, tokens


@dataclass
class DecodeSlack:
    """When the next token of a cohort is due, without asking each of its members.

    Decodes stand in groups by time per output token. All get a token in every iteration, so the
    deadlines of a group move on alike, and it stays sorted by them.
    """

    starts: abc.Sequence[SequenceView] = ()  # whose prompt ends in the iteration under way
    _groups: dict[float, list[SequenceView]] = field(default_factory=lambda: defaultdict(list))
    _clock_s: dict[int, float] = field(default_factory=dict)  # first token: due, or came if late
    _tpot_s: dict[int, float] = field(default_factory=dict)

    def join(self, first_due_s: Seconds, tpot_s: Seconds) -> None:
        """Those of `starts` that have not finished at once are decodes now."""
        for seq in self.starts:
            start = max(first_due_s(seq), seq.last_token_s or 0.0)
            clock, tpot = self._clock_s.setdefault(seq.id, start), tpot_s(seq)
            if not (math.isinf(clock) or math.isinf(tpot)):
                self._tpot_s[seq.id] = tpot
                insort(self._groups[tpot], seq, key=self._next_due_s)
        self.starts = ()

    def leave(self, seq: SequenceView) -> None:
        """The request does not decode any more; it may again."""
        self.starts = [x for x in self.starts if x.id != seq.id]
        if tpot := self._tpot_s.pop(seq.id, None):
            self._groups[tpot].remove(seq)

    def forget(self, seq: SequenceView) -> None:
        """The request is gone."""
        self.leave(seq)
        self._clock_s.pop(seq.id, None)

    def due_s(self) -> float:
        """When the first of their next tokens is due; infinity when nothing binds them."""
        first = (self._next_due_s(group[0]) for group in self._groups.values() if group)
        return min(first, default=math.inf)

    def _next_due_s(self, seq: SequenceView) -> float:
        return self._clock_s[seq.id] + self._tpot_s[seq.id] * seq.num_output


class NiyamaScheduler(PredictingScheduler):
    """The loop in Niyama's order, with a budget from slack."""

    parameters: "NiyamaParameters"
    timeless = False

    def __init__(self, parameters: "NiyamaParameters") -> None:
        super().__init__(parameters)
        self._relegated: set[int] = set()
        self._slack = DecodeSlack()
        self._tokens = 0
        self._throughput = PromptThroughput()

    def rank(self, seq: SequenceView, now: float) -> Rank:
        due_s, last = self._first_due_s(seq), seq.id in self._relegated
        delay_s = self.parameters.alpha_s * (seq.num_tokens - self.computed(seq))
        return (last or math.isinf(due_s), due_s + delay_s)

    def _first_due_s(self, seq: SequenceView) -> float:
        if seq.slo.ttft_s is None and seq.slo.e2e_s is not None:
            needed_s = self.output_tokens(seq) * self.parameters.batch_tpot_s
            return seq.slo.last_deadline(seq.arrival_s) - needed_s
        return seq.slo.deadline(seq.arrival_s, 1)

    def _tpot_s(self, seq: SequenceView) -> float:
        if seq.slo.tpot_s is None and seq.slo.e2e_s is not None:
            return self.parameters.batch_tpot_s
        return seq.slo.pace_s

    def begin(self, view: ReplicaView) -> None:
        self._throughput.learn(view, self.token_limit)
        self._slack.join(self._first_due_s, self._tpot_s)
        first = next(self._in_line(view.now), None)
        if first is None:
            return
        slack_s, safety = self._slack.due_s() - view.now, self.parameters.safety
        context = self.computed(first)
        self._tokens = largest_chunk(view, self.token_limit, context, slack_s, safety)
        if doomed := self._doomed(view):
            self._relegated |= doomed
            self.rerank(view.now)

    def _doomed(self, view: ReplicaView) -> set[int]:
        """Those in line for the coming iteration that could not be in time."""
        left, doomed = self._tokens - view.num_decodes, set[int]()
        for seq in self._in_line(view.now):
            if self._comes_late(seq, view.now):
                doomed.add(seq.id)
            elif left <= 0:
                break
            else:
                left -= seq.num_tokens - self.computed(seq)
        return doomed

    def _comes_late(self, seq: SequenceView, now: float) -> bool:
        """Whether a request that has not started would not have its first token in time."""
        started = self.runs(seq) or seq.num_output or seq.id in self._relegated
        first_s = now + seq.num_tokens / self._throughput.tokens_s
        return not started and first_s > self._first_due_s(seq)

    def _in_line(self, now: float) -> Iterator[SequenceView]:
        """Prompts under way and waiting, in order."""

        def order(seq: SequenceView) -> tuple[Rank, int]:
            return self.rank(seq, now), seq.id

        return merge(sorted(self.batch.outside.values(), key=order), self._waiting, key=order)

    def budget(self, view: ReplicaView) -> int:
        return self._tokens

    def lasts(self, view: ReplicaView) -> int:
        """Decodes alone go on alike; who waits is asked again, for slack comes and goes."""
        return 1 if len(self._waiting) or view.batch.outside else UNTIL_EVENT

    def settle(self, plan: Plan, view: ReplicaView) -> None:
        self._throughput.planned(view.now, sum(tokens for _, tokens in plan.chunks))
        for seq in plan.evicted:
            self._slack.leave(seq)
        self._slack.starts = completed(plan)

    def finished(self, seq: SequenceView) -> None:
        super().finished(seq)
        self._relegated.discard(seq.id)
        self._slack.forget(seq)


@dataclass(frozen=True)
class NiyamaParameters(LengthParameters):
    """Niyama: dynamic chunks from decode slack, hybrid EDF/SRPF order, eager relegation."""

    makes = NiyamaScheduler
    fidelity = "simplified"
    mirrors = "Niyama / QoServe (arXiv 2503.22562), sarathi-serve 72339db, simplified"

    max_num_batched_tokens: Annotated[Tokens, Doc("bound on chunk sizes, up to 2552")] = 2552
    alpha_s: Annotated[float, Ge(0), Doc("delay in order per remaining token; 0 = EDF")] = 0.008
    safety: Annotated[float, Gt(0), Doc("factor on predicted times against the slack")] = 1.2
    batch_tpot_s: Annotated[
        float, Gt(0), Doc("time per output token of requests with an end-to-end target")
    ] = 0.4
