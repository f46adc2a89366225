"""The decision log: what became of each request in each iteration, and why.

Equal decisions about a request are one row with a count until it is admitted or evicted next, so
the log does not grow with how long requests wait or how often two of them take turns.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bros_sim.engine.reasons import Note
from bros_sim.engine.scheduler import Plan
from bros_sim.engine.sequence import SequenceView

TURNS = frozenset({"admitted", "evicted"})
INTERRUPTED = frozenset({"paused", "swapped_out", "passed_over"})


class Decision(NamedTuple):
    """What an iteration means for one request."""

    request: int
    what: str
    """admitted | resumed | paused | evicted | swapped_out | passed_over."""
    tokens: int
    reason: str = ""
    other: int | None = None
    value: float = math.nan
    limit: float = math.nan


@dataclass(slots=True)
class _Row:
    engine: int
    time_s: float
    iteration: int
    decision: Decision
    count: int
    last_s: float
    last_iteration: int


class DecisionLog:
    """The rows of one run, in the order in which they begin.

    ``request`` and ``other`` are row numbers in the requests table; ``other``, ``tokens``,
    ``value`` and ``limit`` are those of the first of ``count`` iterations.
    """

    def __init__(self) -> None:
        self._rows: list[_Row] = []
        self._open: dict[int, dict[tuple[str, str], _Row]] = {}
        self._latest: dict[int, str] = {}

    def add(self, engine: int, time_s: float, iteration: int, decision: Decision) -> None:
        """A decision for one iteration."""
        self._latest[decision.request] = decision.what
        if decision.what in TURNS:
            self._open.pop(decision.request, None)
        rows = self._open.setdefault(decision.request, {})
        row = rows.get((decision.what, decision.reason))
        if row is not None:
            row.count += 1
            row.last_s, row.last_iteration = time_s, iteration
            return
        row = _Row(engine, time_s, iteration, decision, 1, time_s, iteration)
        rows[decision.what, decision.reason] = row
        self._rows.append(row)

    def interrupted(self, request: int) -> bool:
        """Whether the request was kept from running when it was last decided on."""
        return self._latest.get(request) in INTERRUPTED

    def rows(self) -> list[tuple[object, ...]]:
        """Rows of `core.columns.DECISIONS`."""
        return [
            (
                row.decision.request, row.engine, row.time_s, row.iteration, row.decision.what,
                row.decision.reason, row.decision.other, row.decision.tokens, row.decision.value,
                row.decision.limit, row.count, row.last_s, row.last_iteration,
            )
            for row in self._rows
        ]  # fmt: skip


def decisions_of(
    plan: Plan, swapped: Mapping[int, SequenceView], interrupted: Callable[[int], bool]
) -> Iterator[Decision]:
    """The decisions of a plan that is not applied yet, and the reasons that it gives.

    ``swapped``: those whose KV it moves to the CPU. ``interrupted``: who goes on if in its chunks.
    """
    notes = {note.seq.id: note for note in plan.notes}
    for seq in plan.evicted:
        yield _decision(seq, "evicted", notes.pop(seq.id, None))
    paused = {seq.id: seq for seq in plan.paused if seq.id not in swapped}
    for what, seqs in (("swapped_out", swapped), ("paused", paused)):
        for seq in seqs.values():
            yield _decision(seq, what, notes.pop(seq.id, None))
    admitted = dict(plan.admitted)
    for seq, cached in admitted.items():
        yield Decision(seq.id, "admitted", cached)
    for seq, _ in plan.chunks:
        if seq not in admitted and interrupted(seq.id):
            yield Decision(seq.id, "resumed", seq.num_computed)
    for note in notes.values():
        yield _decision(note.seq, "passed_over", note)


def _decision(seq: SequenceView, what: str, note: Note | None) -> Decision:
    if note is None:
        return Decision(seq.id, what, seq.num_computed)
    other = None if note.other is None else note.other.id
    return Decision(seq.id, what, seq.num_computed, note.reason, other, note.value, note.limit)
