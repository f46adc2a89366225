"""Confidence intervals over seeds, and bands over draws of an uncertain latency model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.core.groupby import DataFrameGroupBy
from scipy.special import stdtrit

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
    """Between which of its values the middle 95 % of a sample lie; of up to 40 it is all of them.

    No interpolation: infinite values may occur.
    """
    tail = 50 * (1 - CONFIDENCE)
    low = np.percentile(sample, tail, method="lower")
    return float(low), float(np.percentile(sample, 100 - tail, method="higher"))


def shifted(
    nominal: pd.DataFrame, draws: pd.DataFrame, keys: Sequence[str], value: str
) -> pd.DataFrame:
    """What each draw makes of the nominal mean: mean + (draw - nominal run of the draw's seed).

    The difference at one seed is that of the same arrivals, so chance does not widen the band. Both
    tables have ``keys`` (a cell, whose seeds are averaged), ``seed`` and the metric ``value``;
    ``draws`` also ``draw``. A row comes for each draw that has a value, as has the nominal run.
    """
    nominal = nominal[[*keys, "seed", value]].astype({value: float}).dropna(subset=[value])
    mean = nominal.groupby(list(keys), dropna=False, sort=False)[value].mean().rename("mean")
    paired = draws[[*keys, "seed", "draw", value]].merge(
        nominal.rename(columns={value: "same_seed"}), on=[*keys, "seed"]
    )
    paired = paired.merge(mean.reset_index(), on=list(keys))
    moved = paired["mean"] + (paired[value].astype(float) - paired["same_seed"])
    return paired[[*keys, "draw"]].assign(**{value: moved}).dropna(subset=[value])
