"""The capacity that a search has found: isotonic curves, and a bootstrap over the seeds."""

import zlib
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, stdtrit

from bros_sim.metrics.capacity import crossing
from bros_sim.metrics.intervals import CONFIDENCE
from bros_sim.metrics.measures import Target
from bros_sim.metrics.search import KEPT, MISSED, Floats, Found, Goal, region, status

RESAMPLES = 1000


@dataclass(frozen=True)
class Answer:
    """A capacity with its 95 % interval.

    ``value`` is NaN where the search found no value that keeps the targets (it is then beyond
    ``missed``), or none that misses one (it is then ``kept`` or better): the values around it that
    were surely one or the other. ``binds`` is the target that is missed first; ``seeds`` is how
    many the curve rests on.
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
