"""The joint distribution of prompt and output lengths as a compact table.

Axes are cut into bins of about equal mass; a length with half a bin's mass is a bin of its own (so
mass points and clips stay exact), and the last bin is halved again and again. Inside a bin lengths
follow ``lo + width * u**a`` with the ``a`` that keeps its mean; the axes are independent there.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 48
Ints = NDArray[np.int64]
TAIL_ROWS = 8
"""The last bin is halved until it would hold fewer rows than this."""


@dataclass(frozen=True, eq=False)
class Bins:
    """Bins of one axis: first and last length of each (inclusive), and the mean in it."""

    lo: Ints
    hi: Ints
    mean: NDArray[np.float64]

    @classmethod
    def fit(cls, lengths: Ints, bins: int = BINS) -> "Bins":
        values, counts = np.unique(lengths, return_counts=True)
        upto = np.cumsum(counts)
        mass = len(lengths) / bins
        tail = [mass * 0.5**k for k in range(1, 30) if mass * 0.5**k >= TAIL_ROWS]
        edges = np.append(np.arange(1, bins) * mass, len(lengths) - np.array(tail))
        member = np.searchsorted(edges, upto - counts / 2)
        alone = counts >= mass / 2
        first = np.ones(len(values), bool)
        first[1:] = (np.diff(member) > 0) | alone[1:] | alone[:-1]
        start = np.flatnonzero(first)
        mean = np.add.reduceat(values * counts, start) / np.add.reduceat(counts, start)
        return cls(values[start], values[np.append(start[1:], len(values)) - 1], mean)

    def index(self, lengths: Ints) -> NDArray[np.intp]:
        return np.searchsorted(self.lo, lengths, side="right") - 1

    def sample(self, index: NDArray[np.intp], rng: np.random.Generator) -> Ints:
        width = (self.hi - self.lo + 1).astype(np.float64)
        power = width / (self.mean - self.lo + 0.5) - 1
        draws = rng.random(len(index)) ** power[index]
        inside = np.floor(width[index] * draws).astype(np.int64)
        return np.asarray(np.minimum(self.lo[index] + inside, self.hi[index]))


@dataclass(frozen=True, eq=False)
class JointHistogram:
    """Counts of (prompt bin, output bin)."""

    prompt: Bins
    output: Bins
    counts: Ints

    @classmethod
    def fit(cls, prompts: Ints, outputs: Ints) -> "JointHistogram":
        prompt, output = Bins.fit(prompts), Bins.fit(outputs)
        shape = (len(prompt.lo), len(output.lo))
        cell = prompt.index(prompts) * shape[1] + output.index(outputs)
        counts = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
        return cls(prompt, output, counts.astype(np.int64))

    def sample(self, n: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        upto = np.cumsum(self.counts.ravel())
        cell = np.searchsorted(upto, rng.integers(0, upto[-1], n), side="right")
        rows, columns = np.divmod(cell, self.counts.shape[1])
        return self.prompt.sample(rows, rng), self.output.sample(columns, rng)
