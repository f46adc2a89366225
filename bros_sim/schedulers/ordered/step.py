"""The iteration that `OrderedScheduler` puts together: what is left, who is in it, who is not."""

from collections import abc
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from bros_sim.engine.latency_model import StepShape
from bros_sim.engine.reasons import BUDGET, MEMORY, OUTRANKED, SEATS, Note
from bros_sim.engine.scheduler import ReplicaView
from bros_sim.engine.sequence import SequenceView

Chunk = tuple[int, int]
"""Tokens of a prompt computed in the iteration, and tokens of it that are in the cache."""


def shape_of(chunks: Iterable[Chunk], decodes: int, kv_tokens: int) -> StepShape:
    """An iteration's shape; a chunk of one token is a decode to the engine's kernels."""
    chunks = tuple(chunks)
    single = [context + 1 for tokens, context in chunks if tokens == 1]
    prefill = tuple(chunk for chunk in chunks if chunk[0] > 1)
    return StepShape(prefill, decodes + len(single), kv_tokens + sum(single))


class Lack(NamedTuple):
    """What stopped an attempt."""

    seq: SequenceView | None
    """Who lacks it; None: the cohort as a whole."""
    reason: str
    """SEATS or MEMORY."""
    waits: bool
    """Whether that request waits: it may go on waiting, while a running one needs what it lacks."""


class Eviction(NamedTuple):
    """A running request that loses its KV, and what for."""

    seq: SequenceView
    lack: Lack

    def note(self) -> Note:
        """Who got its seat or memory."""
        return Note(self.seq, OUTRANKED if self.lack.reason == SEATS else MEMORY, self.lack.seq)


@dataclass(slots=True)
class Step:
    """One attempt at an iteration; each eviction starts another."""

    view: ReplicaView
    budget: int
    """Tokens that are left of the iteration."""
    running: list[int]
    """Requests that run, by class (real-time, best-effort): with those admitted so far."""
    evictions: abc.Sequence[Eviction] = ()
    idle: abc.Sequence[Note] = ()
    """Running requests that are to compute nothing."""
    forced: bool = False
    """The policy's own limits would let nobody run: they do not count."""
    decodes: int = 0
    """Cohort members that decode."""
    owed: int = 0
    """KV blocks that prompts under way still lack, which nobody else may take."""
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
