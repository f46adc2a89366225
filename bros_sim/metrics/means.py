"""Mean and 95 % interval over the seeds, for every column of the summary."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bros_sim.metrics.catalogue import METRICS
from bros_sim.metrics.intervals import half_widths
from bros_sim.metrics.latencies import STATISTICS

MEASURED = ("metric", "unit", "of", "mean", "half_width", "low", "high", "seeds", "load")
WORD = "saturation"


def means(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """A row of ``by``, ``class`` and MEASURED for each cell, class and metric.

    ``table`` holds the nominal rows of summary.csv, of which failed points do not count; ``by`` are
    the columns that name a cell: system and sweep paths. ``of`` says what was averaged: a
    percentile is the mean of the seeds' percentiles, not a percentile of all requests.
    ``half_width`` is half of the 95 % t interval from ``low`` to ``high``, missing with one seed.
    ``seeds`` counts those that have the metric; without any there is no row. ``load``: the
    saturation verdicts of the class, so that no number stands without them.
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
