"""Token times: what every request's tokens say, without a row per token.

The times of all tokens are slices of ``iteration_end_s``. What depends on a deadline expands them
in blocks of whole requests, so memory stays bounded; the rest (gaps.py) is counted per iteration.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bros_sim.core.request import token_deadline
from bros_sim.engine.record import RESIDENCY_COLUMNS, RunTables

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

BLOCK_TOKENS = 1 << 18
"""Tokens expanded at once: small enough for the cache, large enough to hide numpy's overhead."""

NEVER_S = 1e300
"""Stands for infinity where 0 times it must be 0."""


@dataclass(frozen=True)
class TokenRows:
    """Residency rows in order of request; ``first`` indexes ``end_s``, all replicas in one.

    ``end_s`` holds, replica by replica, the iterations in which the decode cohort ran and then
    those in which it stalled, so that the tokens of a row are a slice of it.
    """

    end_s: Floats
    request: Ints
    first: Ints
    tokens: Ints

    def break_gaps(self) -> tuple[Ints, Floats]:
        """Gaps between the rows of one request (a preemption): request and seconds."""
        follows = np.flatnonzero(self.request[1:] == self.request[:-1]) + 1
        before = self.first[follows - 1] + self.tokens[follows - 1] - 1
        return self.request[follows], self.end_s[self.first[follows]] - self.end_s[before]

    def sum_by_request(self, values: Ints, size: int) -> Ints:
        """One number per request: the sum over its rows."""
        return np.bincount(self.request, weights=values, minlength=size).astype(np.int64)

    def count_until(self, time_s: float, clock_starts: Ints) -> Ints:
        """Tokens of each row that ended at or before ``time_s``."""
        bounds = np.append(clock_starts, self.end_s.size)
        reached = np.array(
            [
                start + np.searchsorted(self.end_s[start:stop], time_s, side="right")
                for start, stop in itertools.pairwise(bounds)
            ],
            dtype=np.int64,
        )
        clock = np.searchsorted(clock_starts, self.first, side="right") - 1
        inside: Ints = np.clip(reached[clock] - self.first, 0, self.tokens)
        return inside


def _clocks(tables: RunTables) -> list[Floats]:
    """Ends of iterations by clock: each replica's, or where it stalled, its two one after another.

    The first of two clocks ticks when the cohort ran, the second when it stalled.
    """
    if not tables.stalled:
        return list(tables.iteration_end_s)
    pairs = zip(tables.iteration_end_s, tables.stalled, strict=True)
    return [clock for ends, at in pairs for clock in (np.delete(ends, at), ends[at])]


def clock_starts(tables: RunTables) -> Ints:
    """Where each clock's iterations begin in `TokenRows.end_s`."""
    sizes = [ends.size for ends in _clocks(tables)]
    return np.concatenate(([0], np.cumsum(sizes[:-1]))).astype(np.int64)


def token_rows(tables: RunTables) -> TokenRows:
    """The residency table by request, with all clocks put one after another."""
    rows = {name: tables.residency[name].to_numpy(np.int64) for name in tables.residency}
    order = np.argsort(rows["request"], kind="stable")
    order = order[rows["tokens"][order] > 0]
    request, replica, first, tokens = (rows[name][order] for name in RESIDENCY_COLUMNS)
    starts, clocks = clock_starts(tables), _clocks(tables)
    if tables.stalled:
        request, clock, first, tokens = _by_clock(tables.stalled, request, replica, first, tokens)
    else:
        clock = replica
    ends = clocks or [np.empty(0)]
    end_s = ends[0] if len(ends) == 1 else np.concatenate(ends)  # one replica: millions, no copy
    return TokenRows(end_s, request, first + starts[clock], tokens)


def _by_clock(
    stalled: Sequence[Ints], request: Ints, replica: Ints, first: Ints, tokens: Ints
) -> tuple[Ints, Ints, Ints, Ints]:
    """Rows by clock: the token of a stalled iteration stands alone, before the rest of its row."""
    stalls_before = np.zeros(first.size, np.int64)
    in_stall = np.zeros(first.size, np.int64)
    for number, at in enumerate(stalled):
        mine = replica == number
        stalls_before[mine] = np.searchsorted(at, first[mine])
        in_stall[mine] = np.isin(first[mine], at)
    parts = 1 + in_stall * (tokens > 1)
    row = np.repeat(np.arange(first.size), parts)
    alone = (in_stall == 1)[row] & np.append(True, row[1:] != row[:-1])[: row.size]
    ran = first - stalls_before
    return (
        request[row],
        2 * replica[row] + alone,
        np.where(alone, stalls_before[row], ran[row]),
        np.where(alone, 1, tokens[row] - in_stall[row]),
    )


def tokens_on_time(rows: TokenRows, due_s: Floats, tpot_slo_s: Floats) -> Ints:
    """Per request: tokens that came by their deadline.

    Args:
        rows: Residency by request.
        due_s: Per request: when its first token is due; infinity when nothing binds it.
        tpot_slo_s: Per request: time between the deadlines; infinity leaves all but the first free.
    """
    counts = rows.sum_by_request(rows.tokens, due_s.size)
    for tokens in _blocks(rows, np.isfinite(due_s)):
        tpot = np.repeat(np.minimum(tpot_slo_s[tokens.request], NEVER_S), tokens.length)
        later = np.arange(tokens.time_s.size) - np.repeat(tokens.start, tokens.length)
        first_s = np.repeat(due_s[tokens.request], tokens.length)
        deadline = token_deadline(first_s, tpot, later.astype(np.float64))
        counts[tokens.request] = tokens.count(tokens.time_s <= deadline)
    return counts


def gaps_on_time(rows: TokenRows, tpot_slo_s: Floats) -> Ints:
    """Per request with a finite TPOT SLO: gaps between tokens that are within it; else 0."""
    counts = np.zeros(tpot_slo_s.size, np.int64)
    for tokens in _blocks(rows, np.isfinite(tpot_slo_s)):
        gap = np.empty_like(tokens.time_s)
        np.subtract(tokens.time_s[1:], tokens.time_s[:-1], out=gap[1:])
        gap[tokens.start] = np.inf
        bound = np.repeat(tpot_slo_s[tokens.request], tokens.length)
        counts[tokens.request] = tokens.count(gap <= bound)
    return counts


@dataclass(frozen=True)
class _Tokens:
    """All tokens of some whole requests; those of ``request[i]`` begin at ``start[i]``."""

    request: Ints
    start: Ints
    length: Ints
    time_s: Floats

    def count(self, flags: Bools) -> Ints:
        """Flagged tokens of each request."""
        return np.add.reduceat(flags, self.start, dtype=np.int64)


def _blocks(rows: TokenRows, chosen: Bools) -> Iterator[_Tokens]:
    """The tokens of the chosen requests, about ``BLOCK_TOKENS`` at once, at least one request."""
    mine = chosen[rows.request]
    request, first, tokens = rows.request[mine], rows.first[mine], rows.tokens[mine]
    if not request.size:
        return
    starts = _starts(request)
    before = (np.cumsum(tokens) - tokens)[starts]
    cuts = np.unique(np.searchsorted(before, np.arange(0, before[-1] + 1, BLOCK_TOKENS)))
    for a, b in itertools.pairwise(np.append(starts[cuts], request.size)):
        yield _expand(rows.end_s, request[a:b], first[a:b], tokens[a:b])


def _expand(end_s: Floats, request: Ints, first: Ints, tokens: Ints) -> _Tokens:
    starts = _starts(request)
    length = np.add.reduceat(tokens, starts)
    shift = first - (np.cumsum(tokens) - tokens)
    time_s = end_s[np.arange(tokens.sum()) + np.repeat(shift, tokens)]
    return _Tokens(request[starts], np.cumsum(length) - length, length, time_s)


def _starts(values: Ints) -> Ints:
    """Positions where a new value begins."""
    return np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1])))
