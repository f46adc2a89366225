"""Token times: what every request's tokens say, without a row per token.

They are slices of ``iteration_end_s``. What depends on a deadline expands them in blocks of whole
requests, so memory stays bounded; the rest (gaps.py) is counted per iteration.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bros_sim.core.request import token_deadline
from bros_sim.engine.record import EVERYONE
from bros_sim.metrics.tables import RunTables

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
BLOCK_TOKENS = 1 << 18
"""Tokens expanded at once: small enough for the cache, large enough to hide numpy's overhead."""
NEVER_S = 1e300
"""Stands for infinity where 0 times it must be 0."""


@dataclass(frozen=True)
class TokenRows:
    """Pieces of spans in order of request; the tokens of a row are ``end_s`` from ``first`` on."""

    end_s: Floats
    """Engine by engine, the iterations in which requests decoded, then those in which not."""
    clock_starts: Ints
    request: Ints
    first: Ints
    tokens: Ints

    def break_gaps(self) -> tuple[Ints, Floats]:
        """Gaps between the rows of one request (as over a preemption): request and seconds."""
        follows = np.flatnonzero(self.request[1:] == self.request[:-1]) + 1
        before = self.first[follows - 1] + self.tokens[follows - 1] - 1
        return self.request[follows], self.end_s[self.first[follows]] - self.end_s[before]

    def sum_by_request(self, values: Ints, size: int) -> Ints:
        """One number per request: the sum over its rows."""
        return np.bincount(self.request, weights=values, minlength=size).astype(np.int64)

    def count_until(self, time_s: float) -> Ints:
        """Tokens of each row that ended at or before ``time_s``."""
        bounds = itertools.pairwise(np.append(self.clock_starts, self.end_s.size))
        inside = (a + np.searchsorted(self.end_s[a:b], time_s, side="right") for a, b in bounds)
        reached = np.fromiter(inside, np.int64)
        clock = np.searchsorted(self.clock_starts, self.first, side="right") - 1
        counts: Ints = np.clip(reached[clock] - self.first, 0, self.tokens)
        return counts


def _ints(table: pd.DataFrame, *names: str) -> list[Ints]:
    return [table[name].to_numpy(np.int64) for name in names]


def _stalls(tables: RunTables) -> list[Ints]:
    """Per engine: iterations in which who decodes got no token, ascending."""
    of_all = tables.exceptions[tables.exceptions["request"] == EVERYONE]
    engine, at = _ints(of_all, "engine", "iteration")
    return [np.sort(at[engine == n]) for n in range(len(tables.iteration_end_s))]


def _clocks(ends_s: Sequence[Floats], stalls: Sequence[Ints]) -> Iterator[Floats]:
    """Ends of iterations by engine: when those that decode get a token, and when they stall."""
    for ends, at in zip(ends_s, stalls, strict=True):
        yield np.delete(ends, at) if at.size else ends  # millions: no copy
        yield ends[at]


def token_rows(tables: RunTables) -> TokenRows:
    """The spans by request, cut at exceptions, with all clocks put one after another."""
    rows = _ints(tables.spans, "request", "engine", "first_iteration", "tokens")
    order = np.argsort(rows[0], kind="stable")
    order = order[rows[3][order] > 0]
    request, engine, first, tokens = (row[order] for row in rows)
    stalls = _stalls(tables)
    clock = 2 * engine
    if len(tables.exceptions):
        span, clock, first, tokens = _cut(tables, stalls, (request, engine, first, tokens))
        request = request[span]
    clocks = list(_clocks(tables.iteration_end_s, stalls))
    starts = np.cumsum([0, *map(len, clocks)])[:-1]
    ticking = [ends for ends in clocks if ends.size] or [np.empty(0)]
    end_s = ticking[0] if len(ticking) == 1 else np.concatenate(ticking)  # millions: no copy
    return TokenRows(end_s, starts, request, first + starts[clock], tokens)


def _cut(
    tables: RunTables, stalls: Sequence[Ints], spans: tuple[Ints, Ints, Ints, Ints]
) -> tuple[Ints, Ints, Ints, Ints]:
    """Pieces of spans that are slices of a clock: span, clock, position on it, tokens.

    A mark is the first iteration of a span or one that is an exception. After it come those up to
    the next mark, one token in each that does not stall; after the last as many as are left.
    """
    _, engines, _, tokens = spans
    span, at, count = _marks(tables, spans)
    engine = engines[span]
    last = np.append(span[1:] != span[:-1], True)[: span.size]
    until = np.where(last, at, np.append(at[1:], 0)[: at.size])
    after = at + 1 - _before(stalls, engine, at + 1)
    between = np.where(last, 0, until - _before(stalls, engine, until) - after)
    given = np.bincount(span, weights=count + between, minlength=tokens.size).astype(np.int64)
    between[last] = (tokens - given)[span[last]]
    stalled = _before(stalls, engine, at + 1) - _before(stalls, engine, at)
    mark = np.where(stalled, _before(stalls, engine, at), at - _before(stalls, engine, at))
    # Tokens of one iteration, and then those of the iterations after it.
    copies = np.column_stack((count, between > 0)).ravel().astype(np.int64)
    row = np.repeat(np.arange(copies.size), copies)
    clocks, ones = (2 * engine + stalled, 2 * engine), np.ones_like(count)
    pairs = ((span, span), clocks, (mark, after), (ones, between))
    return _merged(*(np.column_stack(pair).ravel()[row] for pair in pairs))


def _marks(tables: RunTables, spans: tuple[Ints, Ints, Ints, Ints]) -> tuple[Ints, Ints, Ints]:
    """Span, iteration and tokens of each mark, in order."""
    request, engine, first, _ = spans
    own = tables.exceptions[tables.exceptions["request"] != EVERYONE]
    whose, where, at, count = _ints(own, "request", "engine", "iteration", "tokens")
    engines, size = len(tables.iteration_end_s), max(map(len, tables.iteration_end_s), default=0)
    begin, marked = (
        (r * engines + e) * size + i for r, e, i in ((request, engine, first), (whose, where, at))
    )
    order = np.argsort(begin, kind="stable")
    span = order[np.searchsorted(begin[order], marked, side="right") - 1] if own.size else whose
    plain = np.flatnonzero(~np.isin(begin, marked))
    span = np.concatenate((plain, span))
    at = np.concatenate((first[plain], at))
    count = np.concatenate((np.ones_like(plain), count))
    order = np.lexsort((at, span))
    return span[order], at[order], count[order]


def _before(stalls: Sequence[Ints], engine: Ints, iteration: Ints) -> Ints:
    found = np.zeros(iteration.size, np.int64)
    for number, at in enumerate(stalls):
        mine = engine == number
        found[mine] = np.searchsorted(at, iteration[mine])
    return found


def _merged(span: Ints, clock: Ints, position: Ints, tokens: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Pieces of a span that follow each other on a clock as one."""
    goes_on = (span[1:] == span[:-1]) & (clock[1:] == clock[:-1])
    goes_on &= position[1:] == position[:-1] + tokens[:-1]
    starts = np.flatnonzero(np.append(True, ~goes_on)[: span.size])
    total = np.add.reduceat(tokens, starts) if starts.size else tokens
    return span[starts], clock[starts], position[starts], total


def tokens_on_time(rows: TokenRows, due_s: Floats, tpot_slo_s: Floats) -> Ints:
    """Per request: tokens by their deadlines, from ``due_s`` on and ``tpot_slo_s`` apart."""
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
    return np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1])))
