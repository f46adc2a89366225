"""Capacities under draws of an uncertain latency model: their bands, and what stays undecided."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from bros_sim.metrics.capacity import TARGETS, crossing, curves_of, real_time
from bros_sim.metrics.intervals import CONFIDENCE, band, shifted

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

    ``table`` holds the nominal rows of summary.csv, ``draws`` those of the draws; ``load`` and
    ``by`` are as of `capacities`. The curve of a draw is the nominal mean, at each load moved by
    how the draw differs from the nominal run of its seed.

    Returns:
        ``by``, ``capacity``, ``draw``, ``least_rps`` and ``most_rps``: both the rate, or below the
        grid 0 and its lowest load, or beyond it the highest and infinity. Loads count that every
        seed has; draws count that have all of these loads.
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
    """The table of `capacities` with the middle 95 % of each rate over the ``draws``.

    ``low_rps`` is 0 where that begins below the grid, ``high_rps`` missing where it ends beyond.
    """
    drawn, keys = by_draw[by_draw["draw"] != NOMINAL], [*by, "capacity"]
    bands = []
    for cell, group in drawn.groupby(keys, sort=False, dropna=False):
        (low, _), (_, high) = (band(group[name].to_numpy(float)) for name in BOUNDS)
        bands.append([*cell, low, high, len(group)])
    found = pd.DataFrame(bands, columns=[*keys, "low_rps", "high_rps", "draws"])
    return capacity.merge(found.replace({"high_rps": {np.inf: np.nan}}), "left", on=keys)


def orders(by_draw: pd.DataFrame, by: Sequence[str], between: str = "system") -> pd.DataFrame:
    """Which of two has the higher capacity, or `UNDECIDED` where the draws do not agree on it.

    The values of the column ``between`` of the cells ``by`` are compared, in pairs and by draw.

    Returns:
        The other columns of ``by``, ``capacity``, ``first``, ``second``, ``higher``, ``agreeing``
        (draws in the nominal order) and ``draws``. `NEITHER` is higher if they are equal, or both
        below the grid, or both beyond it.
    """
    rest = [*(name for name in by if name != between), "capacity"]
    rows = [
        [*keys, *pair]
        for keys, group in by_draw.groupby(rest, sort=False, dropna=False)
        for pair in _pairs(group, between)
    ]
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
