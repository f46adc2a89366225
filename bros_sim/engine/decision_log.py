"""The decision log: what became of each request in each iteration, and why.

Equal decisions about a request are one row with a count until it is admitted or evicted next, so
that the log grows with the requests, not with how long they wait or how often two of them take
turns.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

DECISION_COLUMNS = (
    "request", "replica", "time_s", "iteration", "decision", "reason", "other", "tokens", "value",
    "limit", "count", "last_s", "last_iteration",
)  # fmt: skip
"""``request`` and ``other`` are row numbers in the requests table, ``time_s`` is the instant of
planning, ``iteration`` counts from 0 per replica. ``tokens`` is the request's KV at that time (of
one admitted: found in the prefix cache); what ``value`` and ``limit`` are the reason says. The row
stands for ``count`` iterations, the last of them ``last_iteration``, planned at ``last_s``;
``other``, ``tokens``, ``value`` and ``limit`` are those of the first."""

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
    replica: int
    time_s: float
    iteration: int
    decision: Decision
    count: int
    last_s: float
    last_iteration: int


@dataclass
class DecisionLog:
    """The rows of one run, in the order in which they begin."""

    _rows: list[_Row] = field(default_factory=list)
    _open: dict[int, dict[tuple[str, str], _Row]] = field(default_factory=dict)
    _latest: dict[int, str] = field(default_factory=dict)

    def add(self, replica: int, time_s: float, iteration: int, decision: Decision) -> None:
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
        row = _Row(replica, time_s, iteration, decision, 1, time_s, iteration)
        rows[decision.what, decision.reason] = row
        self._rows.append(row)

    def interrupted(self, request: int) -> bool:
        """Whether the request was kept from running when it was last decided on."""
        return self._latest.get(request) in INTERRUPTED

    def rows(self) -> list[tuple[object, ...]]:
        """The values of ``DECISION_COLUMNS``."""
        return [
            (
                row.decision.request, row.replica, row.time_s, row.iteration, row.decision.what,
                row.decision.reason, row.decision.other, row.decision.tokens, row.decision.value,
                row.decision.limit, row.count, row.last_s, row.last_iteration,
            )
            for row in self._rows
        ]  # fmt: skip
