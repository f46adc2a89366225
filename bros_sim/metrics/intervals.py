"""Confidence intervals over seeds, and bands over draws of an uncertain latency model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.core.groupby import DataFrameGroupBy
from scipy.special import stdtrit

from bros_sim.metrics.catalogue import METRICS
from bros_sim.metrics.measured import STATISTICS

CONFIDENCE = 0.95


def half_width(sample: NDArray[np.float64]) -> float:
    """Half of the 95 % t interval of the mean; 0 for one seed, which has no interval."""
    if sample.size < 2:
        return 0.0
    quantile = stdtrit(sample.size - 1, (1 + CONFIDENCE) / 2)
    return float(quantile * sample.std(ddof=1) / np.sqrt(sample.size))


def half_widths(groups: "DataFrameGroupBy[Any, Any]") -> pd.DataFrame:
    """`half_width` of every column in each group; NaN where fewer than two seeds have a value."""
    count = groups.count()
    quantile = stdtrit(count.where(count > 1) - 1, (1 + CONFIDENCE) / 2)
    return groups.std().div(np.sqrt(count)).mul(quantile)


def band(sample: NDArray[np.float64]) -> tuple[float, float]:
    """Values between which the middle 95 % of a sample lie, infinite ones too; of 40 it is all."""
    tail = 50 * (1 - CONFIDENCE)
    low = np.percentile(sample, tail, method="lower")
    return float(low), float(np.percentile(sample, 100 - tail, method="higher"))


def shifted(
    nominal: pd.DataFrame, draws: pd.DataFrame, keys: Sequence[str], value: str
) -> pd.DataFrame:
    """What each draw makes of the nominal mean: mean + (draw - nominal run of the draw's seed).

    The difference at one seed is that of the same arrivals, so chance does not widen the band. Both
    tables have ``keys`` (a cell, whose seeds are averaged), ``seed`` and ``value``; ``draws`` also
    ``draw``. A row comes for each draw that has a value, as has the nominal run.
    """
    nominal = nominal[[*keys, "seed", value]].astype({value: float}).dropna(subset=[value])
    mean = nominal.groupby(list(keys), dropna=False, sort=False)[value].mean().rename("mean")
    paired = draws[[*keys, "seed", "draw", value]].merge(
        nominal.rename(columns={value: "same_seed"}), on=[*keys, "seed"]
    )
    paired = paired.merge(mean.reset_index(), on=list(keys))
    moved = paired["mean"] + (paired[value].astype(float) - paired["same_seed"])
    return paired[[*keys, "draw"]].assign(**{value: moved}).dropna(subset=[value])


MEASURED = ("metric", "unit", "of", "mean", "half_width", "low", "high", "seeds", "load")
WORD = "saturation"


def means(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """A row of ``by``, ``class`` and MEASURED for each cell, class and metric.

    ``table`` holds the nominal rows of summary.csv, of which failed points do not count; ``by``
    name a cell: system and sweep paths. ``of`` says what was averaged: a percentile is the mean of
    the seeds' percentiles, not one of all requests. ``half_width`` is half of the 95 % t interval,
    missing with one seed. ``seeds`` counts those that have the metric; without any there is no row.
    ``load``: the saturation verdicts of the class, so that no number stands without them.
    """
    good = table[table["error"] == ""] if len(table) else table
    names = [name for name in METRICS if name in good and name != WORD]
    keys = [*by, "class"]
    if good.empty or not names:
        return pd.DataFrame(columns=[*keys, *MEASURED])
    numeric = good.astype(dict.fromkeys(names, float))
    groups = numeric.groupby(keys, sort=False, dropna=False)
    mean, count = groups[names].mean(), groups[names].count()
    half = half_widths(groups[names]).to_numpy().ravel()
    loads = groups[WORD].agg(lambda found: ", ".join(dict.fromkeys(found)))
    cells = mean.index.to_frame(index=False).loc[np.repeat(np.arange(len(mean)), len(names))]
    middle = mean.to_numpy().ravel()
    made = cells.reset_index(drop=True).assign(
        metric=names * len(mean),
        unit=[METRICS[name].unit for name in names] * len(mean),
        of=[f"{_statistic(name)} of each seed" for name in names] * len(mean),
        mean=middle, half_width=half, low=middle - half, high=middle + half,
        seeds=count.to_numpy().ravel(),
        load=np.repeat(loads.to_numpy(), len(names)),
    )  # fmt: skip
    return made[made["seeds"] > 0].reset_index(drop=True)


def _statistic(name: str) -> str:
    statistic = name.partition("_")[0]
    return statistic if STATISTICS.get(statistic) else "value"
