"""Capacity: the highest load that keeps the attainment, read off the grid of a load sweep.

What DistServe (arXiv 2401.09670) calls goodput. Attainment falls with load, so the curve is first
made non-increasing by least squares (isotonic regression), then taken as linear between loads.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from bros_sim.metrics.intervals import CONFIDENCE, band, half_width, shifted

TARGETS = {"rate@90": 0.90, "rate@99": 0.99}
BE_KEPT = 0.50
"""Share of its throughput alone that best effort keeps, in the joint form."""
JOINT = f", BE@{BE_KEPT:.0%}".rstrip("%")
ROUNDING = 1e-9
"""What means of shares may lose: 90 % in each of three seeds is 90 % on average."""
RETENTION = "be_retention"
MEASURED = (
    "capacity", "load", "rate_rps", "half_width_rps", "at_least_rps", "below_rps", "seeds",
    "saturation",
)  # fmt: skip
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Crossing:
    """Where an attainment curve falls below a target; ``rate`` is NaN if not inside the grid.

    ``at_least``, the highest load that keeps the target, is NaN if none does; ``below``, the next
    one, if all do.
    """

    rate: float
    at_least: float
    below: float

    @property
    def bounds(self) -> tuple[float, float]:
        """Between which rates it lies: twice ``rate``, or what the end of the grid says."""
        if np.isfinite(self.rate):
            return self.rate, self.rate
        return np.nan_to_num(self.at_least), np.nan_to_num(self.below, nan=np.inf)


def crossing(loads: Floats, attainment: Floats, target: float) -> Crossing:
    """The load at which ``attainment``, a share for each of the rising ``loads``, is ``target``."""
    curve = np.asarray(isotonic_regression(attainment, increasing=False).x, np.float64)
    kept = int(np.count_nonzero(curve >= target - ROUNDING))
    at_least = float(loads[kept - 1]) if kept else np.nan
    below = float(loads[kept]) if kept < loads.size else np.nan
    rate = np.nan
    if 0 < kept < loads.size:
        above, under = max(float(curve[kept - 1]), target), float(curve[kept])
        rate = at_least + (above - target) / (above - under) * (below - at_least)
    return Crossing(float(rate), at_least, below)


def capacities(table: pd.DataFrame, load: str, by: Sequence[str]) -> pd.DataFrame:
    """``rate@90`` and ``rate@99`` of real-time requests for each value of the columns ``by``.

    With ``be_retention`` in the table also the joint form: the highest load at which, besides, best
    effort keeps `BE_KEPT` of its throughput alone. ``table`` is summary.csv, ``load`` its column
    with the load in requests/s; every seed is averaged. Only loads count at which every seed has an
    attainment; a group without any has no rows.

    Returns:
        ``by`` and MEASURED: ``capacity`` (key of TARGETS, with JOINT in the joint form), ``load``
        (the column's name), ``rate_rps`` of the mean curve, ``half_width_rps`` of the 95 % t
        interval over the seeds' own curves (NaN with one seed or where one does not cross inside
        the grid), the bounds of `Crossing`, ``seeds``, and ``saturation``: the verdicts of RT
        there, if not stable.
    """
    good = real_time(table)
    if RETENTION in table:
        cell = [*by, load, "seed"]
        kept = table.loc[table["class"] == "be", [*cell, RETENTION]]
        good = good.drop(columns=RETENTION).merge(kept, "left", on=cell)
    groups = good.groupby(list(by), sort=False, dropna=False)
    rows = [[*keys, *row] for keys, group in groups for row in _of_group(group, load)]
    return pd.DataFrame(rows, columns=[*by, *MEASURED])


def real_time(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of real-time requests of points that did not fail."""
    return table[(table["class"] == "rt") & (table["error"] == "")]


def curves_of(group: pd.DataFrame, load: str, share: str = "slo_attainment") -> pd.DataFrame:
    """A share by seed (rows) and load (columns); loads that not all seeds have are out."""
    curves = group.pivot_table(
        index="seed", columns=load, values=share, aggfunc="first", dropna=False
    )
    return curves.astype(float).dropna(axis=1)


def _of_group(group: pd.DataFrame, load: str) -> Iterator[list[object]]:
    curves = curves_of(group, load)
    if curves.empty:
        return
    kept = curves_of(group, load, RETENTION) if RETENTION in group else pd.DataFrame()
    forms = [("", [])] if kept.empty else [("", []), (JOINT, [(kept, BE_KEPT)])]
    for form, more in forms:
        for name, target in TARGETS.items():
            yield [name + form, *_capacity(group, load, [(curves, target), *more])]


def _capacity(
    group: pd.DataFrame, load: str, limits: Sequence[tuple[pd.DataFrame, float]]
) -> list[object]:
    """Where the first of the curves falls below its target, and the unsteady verdicts around it."""
    seeds = limits[0][0].index
    found = _first((curves.mean(), target) for curves, target in limits)
    own = np.array([_first((curves.loc[seed], t) for curves, t in limits).rate for seed in seeds])
    known = own.size > 1 and bool(np.isfinite([*own, found.rate]).all())
    half = half_width(own) if known else np.nan
    around = group[load].isin([found.at_least, found.below])
    words = ", ".join(sorted(set(group.loc[around, "saturation"]) - {"stable"}))
    return [load, found.rate, half, found.at_least, found.below, len(seeds), words]


def _first(curves: Iterable[tuple["pd.Series[float]", float]]) -> Crossing:
    """The lowest load at which one of the curves, each by load, falls below its target."""
    found = [
        crossing(np.asarray(curve.index, np.float64), np.asarray(curve, np.float64), target)
        for curve, target in curves
    ]
    return min(found, key=lambda one: one.bounds)


Bounds = tuple["pd.Series[float]", "pd.Series[float]"]
BOUNDS = ("least_rps", "most_rps")
UNDECIDED, NEITHER = "undecided", "neither"
AGREEING = (1 + CONFIDENCE) / 2
"""Share of the draws that has to put two systems in the nominal order: the band is on one side."""
ATTAINMENT = "slo_attainment"
NOMINAL = 0
"""The ``draw`` of the nominal model."""


def capacities_by_draw(
    table: pd.DataFrame, draws: pd.DataFrame, load: str, by: Sequence[str]
) -> pd.DataFrame:
    """``rate@90`` and ``rate@99`` under the nominal model (draw 0) and under each draw.

    ``table`` holds the nominal rows of summary.csv, ``draws`` those of the draws; the rest is as of
    `capacities`. The curve of a draw is the nominal mean, at each load moved by how the draw
    differs from the nominal run of its seed. Loads count that every seed has; draws that have all
    of these.

    Returns:
        ``by``, ``capacity``, ``draw``, ``least_rps`` and ``most_rps``: both the rate, or below the
        grid 0 and its lowest load, or beyond it the highest and infinity.
    """
    good, drawn, names = real_time(table), real_time(draws), list(by)
    rows = []
    for keys, group in good.groupby(names, sort=False, dropna=False):
        curves = curves_of(group, load)
        mine = drawn.merge(group[names].drop_duplicates(), on=names)
        moved = shifted(group, mine, [load], ATTAINMENT)
        moved = moved.pivot_table(index="draw", columns=load, values=ATTAINMENT, aggfunc="first")
        moved = moved.reindex(columns=curves.columns).dropna(axis=0)
        moved = pd.concat([curves.mean().to_frame(NOMINAL).T, moved])
        for name, target in TARGETS.items() if not curves.empty else ():
            loads = curves.columns.to_numpy(np.float64)
            for draw, curve in zip(moved.index, moved.to_numpy(np.float64), strict=True):
                rows.append([*keys, name, int(draw), *crossing(loads, curve, target).bounds])
    return pd.DataFrame(rows, columns=[*names, "capacity", "draw", *BOUNDS])


def with_bands(capacity: pd.DataFrame, by_draw: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """`capacities` with the middle 95 % over the ``draws``: 0 below the grid, missing beyond it."""
    drawn, keys = by_draw[by_draw["draw"] != NOMINAL], [*by, "capacity"]
    bands = []
    for cell, group in drawn.groupby(keys, sort=False, dropna=False):
        (low, _), (_, high) = (band(group[name].to_numpy(float)) for name in BOUNDS)
        bands.append([*cell, low, high, len(group)])
    found = pd.DataFrame(bands, columns=[*keys, "low_rps", "high_rps", "draws"])
    return capacity.merge(found.replace({"high_rps": {np.inf: np.nan}}), "left", on=keys)


def orders(by_draw: pd.DataFrame, by: Sequence[str], between: str = "system") -> pd.DataFrame:
    """Which of two values of ``between`` has the higher capacity, in pairs and by draw.

    Returns:
        The other columns of ``by``, ``capacity``, ``first``, ``second``, ``higher``, ``agreeing``
        (draws in the nominal order) and ``draws``. `NEITHER` is higher if they are equal, or both
        below the grid, or both beyond it; it is `UNDECIDED` where the draws do not agree.
    """
    rest = [*(name for name in by if name != between), "capacity"]
    groups = by_draw.groupby(rest, sort=False, dropna=False)
    rows = [[*keys, *pair] for keys, group in groups for pair in _pairs(group, between)]
    return pd.DataFrame(rows, columns=[*rest, "first", "second", "higher", "agreeing", "draws"])


def _pairs(group: pd.DataFrame, between: str) -> Iterator[list[object]]:
    least, most = (group.pivot(index="draw", columns=between, values=name) for name in BOUNDS)
    for first, second in combinations(group[between].unique(), 2):
        known = least[[first, second]].notna().all(axis=1)
        a, b = ((least.loc[known, name], most.loc[known, name]) for name in (first, second))
        sign = _above(a, b).astype(int) - _above(b, a).astype(int)
        agreeing = int((sign.drop(NOMINAL) == sign[NOMINAL]).sum())
        count = len(sign) - 1
        higher = {1: first, 0: NEITHER, -1: second}[sign[NOMINAL]]
        decided = agreeing >= AGREEING * count
        yield [first, second, higher if decided else UNDECIDED, agreeing, count]


def _above(one: Bounds, other: Bounds) -> "pd.Series[bool]":
    """Whether it is higher, wherever between its bounds it lies."""
    return (one[0] >= other[1]) & (one[0] > other[0])
