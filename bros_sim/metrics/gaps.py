"""Gaps between tokens (ITL), exact and without expanding them.

The gap before an iteration is shared by all requests that got a token in it and in the one before;
only gaps over a preemption stand alone. Chunks of iterations keep the memory small.
"""

from collections.abc import Callable, Iterator

import numpy as np

from bros_sim.metrics.tokens import Bools, Floats, Ints, TokenRows

CHUNK = 1 << 18
"""Iterations at once: small enough for the cache, large enough to hide numpy's overhead."""
SHIFT = 41
BINS = 1 << 17
LOWEST = (1023 - 32) << (52 - SHIFT)
"""Bins of the pooled gaps: 2,048 per octave from 2**-32 to 2**32 s, by the bits of the float."""
Counted = Callable[[], Iterator[tuple[Floats, Ints]]]
"""Values and how often each occurs, part by part, from the start at every call."""


def longest_gaps(rows: TokenRows, size: int) -> Floats:
    """Per request: the longest gap between two of its tokens; NaN with fewer than two."""
    longest = np.full(size, -np.inf)
    runs = np.flatnonzero(rows.tokens > 1)
    runs = runs[np.argsort(rows.first[runs], kind="stable")]  # reduceat walks from range to range
    ranges = np.column_stack((rows.first[runs] + 1, rows.first[runs] + rows.tokens[runs])).ravel()
    if runs.size:
        before = np.diff(rows.end_s, prepend=0.0, append=0.0)  # a range may end behind the last
        np.maximum.at(longest, rows.request[runs], np.maximum.reduceat(before, ranges)[::2])
    np.maximum.at(longest, *rows.break_gaps())
    return np.where(np.isneginf(longest), np.nan, longest)


def pooled(rows: TokenRows, chosen: Bools, percentiles: list[float]) -> tuple[float, list[float]]:
    """Mean and percentiles (``np.percentile``'s linear method) of all gaps of some requests."""
    mine = chosen[rows.request]
    first, tokens = rows.first[mine], rows.tokens[mine]
    whose, breaks = rows.break_gaps()
    breaks = breaks[chosen[whose]]
    total = int((tokens - 1).sum()) + breaks.size
    if total == 0:
        return np.nan, [np.nan] * len(percentiles)
    inside = rows.end_s[first + tokens - 1] - rows.end_s[first]  # the gaps of a row, summed
    mean = (float(inside.sum()) + float(breaks.sum())) / total

    def gaps() -> Iterator[tuple[Floats, Ints]]:
        yield from _shared_gaps(rows.end_s, first, tokens)
        yield breaks, np.ones(breaks.size, np.int64)

    return mean, _percentiles(gaps, total, percentiles)


def _shared_gaps(end_s: Floats, first: Ints, tokens: Ints) -> Iterator[tuple[Floats, Ints]]:
    """Gaps before the iterations, and how many of the rows count each; those that none does not."""
    opened, closed = np.sort(first + 1), np.sort(first + tokens)
    for a in range(0, end_s.size, CHUNK):
        b = min(a + CHUNK, end_s.size)
        (o, o_end), (c, c_end) = np.searchsorted(opened, [a, b]), np.searchsorted(closed, [a, b])
        change = np.bincount(opened[o:o_end] - a, minlength=b - a)
        change -= np.bincount(closed[c:c_end] - a, minlength=b - a)
        counts = o - c + np.cumsum(change)
        counted = counts > 0
        before = np.diff(end_s[a:b], prepend=end_s[max(a - 1, 0)])
        yield before[counted], counts[counted]


def _percentiles(values: Counted, total: int, percentiles: list[float]) -> list[float]:
    """``np.percentile`` of the ``total`` values that the counts stand for, to the last bit."""
    positions = [(total - 1) * (q / 100) for q in percentiles]
    below = np.array([int(position) for position in positions])
    ranks = np.concatenate((below, np.minimum(below + 1, total - 1)))
    low, high = np.split(_order_statistics(values, ranks), 2)
    parts = np.array(positions) - below
    # numpy's own interpolation: symmetric, so that both ends are exact
    found = np.where(parts < 0.5, low + (high - low) * parts, high - (high - low) * (1 - parts))
    return [float(value) for value in found]


def _order_statistics(values: Counted, ranks: Ints) -> Floats:
    """The values at these ranks (from 0): count by bin, then sort only what the ranks fall into."""
    per_bin = np.zeros(BINS)
    for some, counts in values():
        per_bin += np.bincount(_bin(some), weights=counts, minlength=BINS)
    bins = np.searchsorted(np.cumsum(per_bin), ranks, side="right")
    wanted = np.zeros(BINS, np.bool_)
    wanted[bins] = True
    parts = []
    for some, counts in values():
        now = wanted[_bin(some)]
        parts.append(_distinct(some[now], counts[now]))
    found, counts = _distinct(*(np.concatenate(both) for both in zip(*parts, strict=True)))
    left_out = np.cumsum(np.where(wanted, 0.0, per_bin))[bins]
    at = np.searchsorted(np.cumsum(counts), ranks - left_out, side="right")
    return np.asarray(found[at])


def _bin(values: Floats) -> Ints:
    """Monotone in the value: the bits of floats that are not negative have their order."""
    return np.asarray(np.clip((values.view(np.int64) >> SHIFT) - LOWEST, 0, BINS - 1))


def _distinct(values: Floats, counts: Ints) -> tuple[Floats, Ints]:
    found, which = np.unique(values, return_inverse=True)
    return found, np.bincount(which, weights=counts, minlength=found.size).astype(np.int64)
