"""Which value to run next to find a capacity: bracket, bisect, more seeds where in doubt.

Stateless: `next_asks` answers from what was measured so far, so an interrupted search goes on. A
capacity lies between a value that surely keeps the targets and the next that surely misses one.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from bros_sim.metrics.capacity import ROUNDING, crossing
from bros_sim.metrics.intervals import CONFIDENCE, half_width
from bros_sim.metrics.measures import Target

KEPT, MISSED, UNDECIDED, NOTHING = "kept", "missed", "undecided", "nothing to judge"
FACTOR = 2.0
"""Of the geometric bracket."""
FARTHEST = 1024.0
"""The bracket looks so many times above and below the value that it starts from, no farther."""
DIGITS = 4
"""Of the values between others: nobody reads more."""
Floats = NDArray[np.float64]
Sample = Mapping[int, Sequence[float]]
"""Seed -> what each target's measure came to."""
Found = Mapping[float, Sample]
"""Value that was run -> its sample."""


@dataclass(frozen=True)
class Goal:
    """What is looked for: the highest value that keeps every target, or the least.

    ``least``: the targets are harder to keep at smaller values (replicas), not at larger ones;
    ``whole``: only whole numbers can be run. ``start`` is run first, above 0. Two values no farther
    apart than the share ``precision`` are not split. ``seeds`` decide at first; undecided values
    get twice as many, up to ``max_seeds``. Beyond what is ``refused`` to run nothing is tried.
    """

    targets: Sequence[Target]
    start: float
    least: bool = False
    whole: bool = False
    precision: float = 0.05
    seeds: int = 5
    max_seeds: int = 20
    refused: frozenset[float] = frozenset()

    def hardness(self, value: float) -> float:
        """A number that rises as the targets get harder to keep."""
        return -value if self.least else value


@dataclass(frozen=True)
class Ask:
    """Run ``value`` until it has ``seeds`` seeds."""

    value: float
    seeds: int


def rows(sample: Sample) -> Floats:
    """A row for each seed that has all measures, a column for each target."""
    table = np.array([sample[seed] for seed in sorted(sample)], np.float64)
    return table[~np.isnan(table).any(axis=1)]


def status(sample: Sample, targets: Sequence[Target]) -> str:
    """KEPT if every target's 95 % t interval is on its good side, MISSED if one's is not at all."""
    known = rows(sample)
    if len(known) < 2:
        return NOTHING
    kept = True
    for column, target in zip(known.T, targets, strict=True):
        sign = 1.0 if target.at_least else -1.0
        margin = sign * (float(column.mean()) - target.value)
        half = half_width(column)
        if margin + half < -ROUNDING:
            return MISSED
        kept &= margin - half >= -ROUNDING
    return KEPT if kept else UNDECIDED


def region(found: Found, goal: Goal) -> list[float]:
    """From the hardest value that is surely kept to the easiest surely missed, as far as judged."""
    states = {value: status(sample, goal.targets) for value, sample in found.items()}
    order = sorted((v for v in states if states[v] != NOTHING), key=goal.hardness)
    missed = [n for n, value in enumerate(order) if states[value] == MISSED]
    order = order[: missed[0] + 1] if missed else order
    kept = [n for n, value in enumerate(order) if states[value] == KEPT]
    return order[kept[-1] :] if kept else order


def next_asks(found: Found, goal: Goal) -> list[Ask]:
    """What to run next; nothing once the region is as narrow as chance and precision allow."""
    if not found:
        return [Ask(goal.start, goal.seeds)]
    states = {value: status(sample, goal.targets) for value, sample in found.items()}
    doubtful = [v for v in states if states[v] == UNDECIDED and len(found[v]) < goal.max_seeds]
    if doubtful:
        return [Ask(v, min(2 * len(found[v]), goal.max_seeds)) for v in doubtful]
    inside = region(found, goal)
    wanted = _ends(states, inside, goal) or _middle(inside, goal)
    if wanted:
        return [Ask(value, goal.seeds) for value in wanted]
    return [Ask(v, goal.max_seeds) for v in inside if len(found[v]) < goal.max_seeds]


def _ends(states: Mapping[float, str], inside: Sequence[float], goal: Goal) -> list[float]:
    """Values beyond the ends of the region that are not yet decided."""
    tried = sorted(states, key=goal.hardness)
    wanted = []
    if not inside or states[inside[0]] != KEPT:
        wanted.append(_beyond(tried[0], states, goal, harder=False))
    if inside and states[inside[-1]] != MISSED:
        wanted.append(_beyond(tried[-1], states, goal, harder=True))
    return [value for value in wanted if value is not None]


def _beyond(value: float, states: Mapping[float, str], goal: Goal, *, harder: bool) -> float | None:
    """The next value out from ``value``; none where there is none, or none was judged."""
    if states[value] == NOTHING:
        return None
    up = harder != goal.least
    after = value * FACTOR if up else value / FACTOR
    if goal.whole:
        after = float(math.ceil(after) if up else math.floor(after))
    far = after <= 0 or max(after / goal.start, goal.start / after) > FARTHEST
    return None if far or after in goal.refused or after in states else after


def _middle(inside: Sequence[float], goal: Goal) -> list[float]:
    """The middle of the widest gap, if one is wider than the precision."""
    pairs = [sorted(pair) for pair in pairwise(inside)]
    gaps = [(b / a, a, b) for a, b in pairs if not goal.whole or b - a > 1]
    ratio, low, high = max(gaps, default=(1.0, 0.0, 0.0))
    if ratio <= 1 + goal.precision:
        return []
    middle = math.sqrt(low * high)
    if goal.whole:
        return [float(min(max(round(middle), low + 1), high - 1))]
    return [float(f"{middle:.{DIGITS}g}")]


RESAMPLES = 1000


@dataclass(frozen=True)
class Answer:
    """A capacity with its 95 % interval; ``binds`` is the target that is missed first.

    ``value`` is NaN where the search found no value that keeps the targets (it is then beyond
    ``missed``), or none that misses one (it is then ``kept`` or better): the values around it that
    were surely one or the other. ``seeds`` is how many the curve rests on.
    """

    value: float
    low: float
    high: float
    kept: float
    missed: float
    binds: str
    seeds: int


def answer(found: Found, goal: Goal) -> Answer:
    """Where the first of the curves falls below its target, by the values of the `region`.

    Every target's mean over seeds is made non-increasing in hardness by least squares (isotonic
    regression) and is linear between values; whole numbers take the hardest that keeps. The
    interval is that of a bootstrap that draws seeds, each with its whole curve; its percentiles
    are widened as a t interval is beside a normal one (Hesterberg 2015, expanded percentiles),
    for with few seeds they are too narrow. It covers chance, not the precision.
    """
    inside = region(found, goal)
    states = [status(found[value], goal.targets) for value in inside]
    kept = inside[0] if KEPT in states[:1] else np.nan
    missed = inside[-1] if MISSED in states[-1:] else np.nan
    # the seeds that have all measures at all of the values
    known = [{s for s in found[v] if not np.isnan(found[v][s]).any()} for v in inside]
    seeds = sorted(set.intersection(*known)) if known else []
    nothing = Answer(np.nan, np.nan, np.nan, kept, missed, "", len(seeds))
    if len(inside) < 2 or len(seeds) < 2:
        return nothing
    curves = np.array([[found[v][seed] for v in inside] for seed in seeds], np.float64)
    hardness = np.array([goal.hardness(value) for value in inside])
    at, binds = _crossing(hardness, curves.mean(axis=0), goal)
    if not np.isfinite(at):
        return nothing
    ends = sorted(goal.hardness(end) for end in _interval(hardness, curves, goal))
    return Answer(goal.hardness(at), ends[0], ends[1], kept, missed, binds, len(seeds))


def _crossing(hardness: Floats, curves: Floats, goal: Goal) -> tuple[float, str]:
    """Where the first target (a column of ``curves``) is missed, and which; infinite beyond."""
    columns = zip(curves.T, goal.targets, strict=True)
    found = [(_of_target(hardness, column, t, whole=goal.whole), str(t)) for column, t in columns]
    return min(found, key=lambda one: one[0])


def _of_target(hardness: Floats, curve: Floats, target: Target, *, whole: bool) -> float:
    sign = 1.0 if target.at_least else -1.0
    found = crossing(hardness, sign * curve, sign * target.value)
    if np.isnan(found.at_least):
        return -np.inf
    if np.isnan(found.below):
        return np.inf
    return found.at_least if whole else found.rate


def _interval(hardness: Floats, curves: Floats, goal: Goal) -> tuple[float, float]:
    """Expanded percentiles of resampled crossings; one step beyond the ends at most."""
    size = len(curves)
    rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(zlib.crc32(b"bootstrap"),)))
    shares = rng.multinomial(size, np.full(size, 1 / size), RESAMPLES) / size
    means = np.einsum("rs,svt->rvt", shares, curves)
    found = np.array([_crossing(hardness, mean, goal)[0] for mean in means])
    found = np.clip(found, 2 * hardness[0] - hardness[1], 2 * hardness[-1] - hardness[-2])
    quantile = stdtrit(size - 1, (1 - CONFIDENCE) / 2) * np.sqrt(size / (size - 1))
    tail = 100 * float(ndtr(quantile))
    low = np.percentile(found, tail, method="lower")
    return float(low), float(np.percentile(found, 100 - tail, method="higher"))
