"""The iteration that `OrderedLoop` puts together: what it has left, who is in it, who is not."""

from collections import abc
from dataclasses import dataclass, field
from typing import NamedTuple

from bros_sim.engine.reasons import BUDGET, MEMORY, OUTRANKED, SEATS, Note
from bros_sim.engine.scheduler import ReplicaView
from bros_sim.engine.sequence import SequenceView


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
    def computes(self) -> bool:
        """Whether the iteration does anything."""
        return bool(self.decodes or self.chunks or self.evictions)

    @property
    def took_memory(self) -> Eviction | None:
        """Somebody evicted because those who run lacked memory."""
        return next((gone for gone in self.evictions if not gone.lack.waits), None)

    def without(self) -> set[int]:
        """Running requests that have no part in it: evicted or idle."""
        return {gone.seq.id for gone in self.evictions} | {note.seq.id for note in self.idle}

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

    def lacks_seat(self, seq: SequenceView) -> None:
        """The head of the queue finds as many running as may."""
        self.lack = Lack(seq, SEATS, waits=True)
        self.note(Note(seq, SEATS, None, sum(self.running), sum(self.running)))

    def lacks_memory(self, seq: SequenceView, blocks: int) -> None:
        """The head of the queue finds too few free blocks."""
        self.lack = Lack(seq, MEMORY, waits=True)
        self.note(Note(seq, MEMORY, None, blocks, self.view.kv.free_blocks))
