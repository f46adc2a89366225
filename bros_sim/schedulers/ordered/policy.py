"""The questions that a rival answers, its queue, and the iteration that is put together for it."""

import heapq
from collections import abc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from bros_sim.engine.latency_model import StepShape
from bros_sim.engine.reasons import BUDGET, Note
from bros_sim.engine.scheduler import UNTIL_EVENT, Plan, ReplicaView
from bros_sim.engine.sequence import SequenceView

Rank = tuple[float, ...]
"""Where a request stands: the lower is served first; a queue gives all as many numbers."""
Chunk = tuple[int, int]
"""Tokens of a prompt computed in the iteration, and tokens of it that are in the cache."""


def shape_of(chunks: Iterable[Chunk], decodes: int, kv_tokens: int) -> StepShape:
    """An iteration's shape; a chunk of one token is a decode to the engine's kernels."""
    chunks = tuple(chunks)
    single = [context + 1 for tokens, context in chunks if tokens == 1]
    prefill = tuple(chunk for chunk in chunks if chunk[0] > 1)
    return StepShape(prefill, decodes + len(single), kv_tokens + sum(single))


class RankedQueue:
    """The lowest rank first, ties by arrival. A rank is given on entry and kept until `rerank`."""

    def __init__(self) -> None:
        self._heap: list[tuple[Rank, int, SequenceView]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[SequenceView]:
        """In the order of service; the first k of them cost O(k log k), however many wait."""
        heap = self._heap
        places = [(heap[0], 0)] if heap else []
        while places:
            (_, _, seq), at = heapq.heappop(places)
            yield seq
            for child in range(2 * at + 1, min(2 * at + 3, len(heap))):
                heapq.heappush(places, (heap[child], child))

    def push(self, seq: SequenceView, rank: Rank) -> None:
        heapq.heappush(self._heap, (rank, seq.id, seq))

    def pop(self) -> SequenceView:
        return heapq.heappop(self._heap)[2]

    def rerank(self, rank: Callable[[SequenceView], Rank]) -> None:
        """Ask for every rank anew, in O(n)."""
        self._heap = [(rank(seq), seq.id, seq) for _, _, seq in self._heap]
        heapq.heapify(self._heap)


class Lack(NamedTuple):
    """What stopped an attempt."""

    seq: SequenceView | None  # who lacks it; None: the cohort as a whole
    reason: str  # SEATS or MEMORY
    waits: bool
    """Whether that request waits: it may go on waiting, while a running one needs what it lacks."""


class Eviction(NamedTuple):
    """A running request that loses its KV, and what for."""

    seq: SequenceView
    lack: Lack


@dataclass(slots=True)
class Step:
    """One attempt at an iteration; each eviction starts another."""

    view: ReplicaView
    budget: int  # tokens that are left of the iteration
    running: list[int]
    """Requests that run, by class (real-time, best-effort): with those admitted so far."""
    evictions: abc.Sequence[Eviction] = ()
    idle: abc.Sequence[Note] = ()  # running requests that are to compute nothing
    forced: bool = False  # the policy's own limits would let nobody run: they do not count
    decodes: int = 0  # cohort members that decode
    owed: int = 0  # KV blocks that prompts under way still lack, which nobody else may take
    chunks: list[tuple[SequenceView, int]] = field(default_factory=list)
    admitted: list[tuple[SequenceView, int]] = field(default_factory=list)
    paused: list[SequenceView] = field(default_factory=list)
    lack: Lack | None = None
    notes: list[Note] = field(default_factory=list)

    @property
    def gone(self) -> set[int]:
        """The evicted, by id."""
        return {eviction.seq.id for eviction in self.evictions}

    @property
    def decode_kv(self) -> int:
        """Tokens that its decodes attend to."""
        out = [*self.paused, *(gone.seq for gone in self.evictions if gone.seq.decoding)]
        return sum(self.view.decode_kv_by_class) - sum(seq.num_computed + 1 for seq in out)

    def add(self, seq: SequenceView, tokens: int) -> None:
        """A request outside the cohort computes some tokens."""
        self.chunks.append((seq, tokens))
        self.budget -= tokens

    def note(self, note: Note) -> None:
        """Say why a request does not run, if anybody asks."""
        if self.view.explain:
            self.notes.append(note)

    def lacks_budget(self, seq: SequenceView, tokens: int) -> Note:
        """The iteration has no room for what it lacks."""
        return Note(seq, BUDGET, None, tokens, max(self.budget, 0))

    def stop(self, head: SequenceView, reason: str, value: float, limit: float) -> None:
        """The head of the queue finds no seat, or too few free blocks."""
        self.lack = Lack(head, reason, waits=True)
        self.note(Note(head, reason, None, value, limit))


def completed(plan: Plan) -> list[SequenceView]:
    """Who computes its last known token in a plan, and so decodes from then on."""
    start = dict(plan.admitted)
    return [x for x, tokens in plan.chunks if tokens == x.num_tokens - start.get(x, x.num_computed)]


class OrderedPolicy:
    """An order, a budget, and who gives way.

    An iteration may be put together several times, so the questions change nothing: what a policy
    remembers it writes down in `begin` and `settle`.
    """

    cuts_prompts = True
    """Whether a prompt is cut to what is left of the budget, or waits until all of it fits."""
    caches_prefixes = True
    """Whether prefixes are looked up and memory is taken by the chunk; else all on admission."""
    timeless = True
    """Whether the answers stay until something arrives, finishes or runs short of memory, but for
    those of `may_evict` that turn from yes to no."""
    finishes_prompts = False
    """Whether prompts under way go before all who wait, or are overtaken by a lower rank."""
    token_limit: int
    """Most tokens of an iteration."""
    max_num_seqs: int
    """Most requests that run at a time."""

    def rank(self, seq: SequenceView, now: float) -> Rank:
        """Who is served first: the lowest rank, ties by arrival.

        Asked for a waiting request when it comes (`runs` is False then, and it has no KV), for a
        running one whenever a victim or the order of the prompts is looked for.
        """
        return ()

    def budget(self, view: ReplicaView) -> int:
        """Tokens of the coming iteration, those of its decodes included."""
        return self.token_limit

    def has_seat(self, seq: SequenceView, step: Step) -> bool:
        """Whether a waiting request may join ``step.running`` others; not asked if nobody runs."""
        return sum(step.running) < self.max_num_seqs - step.view.held_seats

    def spare_blocks(self, seq: SequenceView, step: Step) -> int:
        """KV blocks to leave free when a request joins others."""
        return 0

    def grant(self, seq: SequenceView, tokens: int, step: Step) -> int:
        """How many of ``tokens``, which the budget allows, who is outside the cohort computes."""
        return tokens

    def why_not(self, seq: SequenceView, tokens: int, step: Step) -> Note:
        """Why a request got none of the ``tokens`` that it lacks."""
        return step.lacks_budget(seq, tokens)

    def pauses(self, view: ReplicaView) -> abc.Sequence[Note]:
        """Running requests that keep their KV and compute nothing in this iteration, and why."""
        return ()

    def leaves_too_little(self, step: Step) -> bool:
        """Whether memory counts as lacking though every decode has found its room."""
        return False

    def may_evict(self, victim: SequenceView, taker: SequenceView, now: float) -> bool:
        """Whether a running request is evicted if a waiting one can start instead."""
        return False

    def lasts(self, view: ReplicaView) -> int:
        """For how many iterations a plan of decodes alone stays the same; see `Plan.repeat`."""
        return UNTIL_EVENT if self.timeless else 1

    def begin(self, view: ReplicaView) -> None:
        """What the policy writes down before a plan."""

    def settle(self, plan: Plan, view: ReplicaView) -> None:
        """What the policy writes down of its plan."""
