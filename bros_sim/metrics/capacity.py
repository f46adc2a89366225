"""Capacity: the highest load that keeps the attainment, read off the grid of a load sweep.

What DistServe (arXiv 2401.09670) calls goodput. Attainment falls with load, so the curve is first
made non-increasing by least squares (isotonic regression), then taken as linear between loads.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from bros_sim.metrics.intervals import half_width

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
    """Where an attainment curve falls below a target.

    ``rate`` is NaN where that is not inside the grid: ``at_least``, the highest load that keeps the
    target, is then NaN (none does) or ``below``, the lowest beyond it, is (all do).
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

    With ``be_retention`` in the table also the joint form: the highest load at which, besides,
    best effort keeps `BE_KEPT` of its throughput alone.

    ``table`` is summary.csv, ``load`` its column with the load in requests/s; ``by`` name a system
    or a point of the other axes: every seed is averaged. Only loads count at which every seed has
    an attainment; a group without any has no rows.

    Returns:
        ``by``, ``capacity`` (key of TARGETS, with JOINT in the joint form), ``load`` (the column's
        name), ``rate_rps`` of the mean curve, ``half_width_rps`` of the 95 % t interval over the
        seeds' own curves (NaN with one seed or where one does not cross inside the grid),
        ``at_least_rps`` and ``below_rps`` as in `Crossing`, ``seeds``, and ``saturation``: the
        verdicts of RT at these two loads, empty if all are stable.
    """
    good = real_time(table)
    if RETENTION in table:
        cell = [*by, load, "seed"]
        kept = table.loc[table["class"] == "be", [*cell, RETENTION]]
        good = good.drop(columns=RETENTION).merge(kept, "left", on=cell)
    rows = [
        [*keys, *row]
        for keys, group in good.groupby(list(by), sort=False, dropna=False)
        for row in _of_group(group, load)
    ]
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
