"""Gaps between tokens (ITL), exact and without expanding them.

The gap before an iteration is shared by all requests that got a token in it and in the one before;
only the gaps over a preemption stand alone.
"""

import numpy as np

from bros_sim.metrics.tokens import Bools, Floats, Ints, TokenRows


def longest_gaps(rows: TokenRows, size: int) -> Floats:
    """Per request: the longest gap between two of its tokens; NaN with fewer than two."""
    longest = np.full(size, -np.inf)
    runs = rows.tokens > 1
    shared = _range_max(_gap_before(rows), rows.first[runs] + 1, rows.tokens[runs] - 1)
    np.maximum.at(longest, rows.request[runs], shared)
    np.maximum.at(longest, *rows.break_gaps())
    return np.where(np.isneginf(longest), np.nan, longest)


def _gap_before(rows: TokenRows) -> Floats:
    """Time since the iteration before; without meaning for the first of a replica."""
    return np.diff(rows.end_s, prepend=0.0)


def _range_max(values: Floats, first: Ints, count: Ints) -> Floats:
    """Largest of ``count`` (>= 1) values from ``first`` on, for many ranges at once.

    A sparse table, one level at a time: two overlapping powers of two cover any range.
    """
    level = np.frexp(count.astype(np.float64))[1] - 1
    largest = np.empty(first.size)
    spans = values
    for n in range(int(level.max(initial=-1)) + 1):
        width, now = 1 << n, level == n
        last = first[now] + count[now] - width
        largest[now] = np.maximum(spans[first[now]], spans[last])
        spans = np.maximum(spans[:-width], spans[width:])
    return largest


class GapPool:
    """All gaps of a run, as values with counts: mean and percentiles pooled over tokens."""

    def __init__(self, rows: TokenRows) -> None:
        self._rows = rows
        self._break_request, breaks = rows.break_gaps()
        values = np.concatenate((_gap_before(rows), breaks))
        self._order = np.argsort(values, kind="stable")
        self._values = values[self._order]

    def statistics(self, chosen: Bools, percentiles: list[float]) -> tuple[float, list[float]]:
        """Mean and percentiles (``np.percentile``'s linear method) over the chosen requests.

        NaN when they have no gap.
        """
        weights = self._weights(chosen)
        reached = np.cumsum(weights)
        total = int(reached[-1]) if reached.size else 0
        if total == 0:
            return np.nan, [np.nan] * len(percentiles)
        mean = float((self._values * weights).sum()) / total  # no BLAS: same bytes everywhere
        return mean, [self._percentile(reached, total, q) for q in percentiles]

    def _weights(self, chosen: Bools) -> Ints:
        """How often each value occurs, in order of value."""
        mine = chosen[self._rows.request]
        first, tokens = self._rows.first[mine], self._rows.tokens[mine]
        size = self._rows.end_s.size
        opened = np.bincount(first + 1, minlength=size + 1)[:size]
        closed = np.bincount(first + tokens, minlength=size + 1)[:size]
        shared = np.cumsum(opened - closed)
        weights = np.concatenate((shared, chosen[self._break_request]))
        return weights.astype(np.int64)[self._order]

    def _percentile(self, reached: Ints, total: int, percentile: float) -> float:
        position = (total - 1) * (percentile / 100)
        below = int(position)
        at = np.searchsorted(reached, [below, min(below + 1, total - 1)], side="right")
        low, high = self._values[at]
        part = position - below
        # numpy's own interpolation: symmetric, so that both ends are exact
        return float(low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part))
