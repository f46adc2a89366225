"""Every column of the summary with its interval over the seeds."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bros_sim.metrics.intervals import means

PLACE = "cluster.replicas"


def table(**values):
    rows = [
        {"system": "A", PLACE: n, "seed": seed, "class": "rt", "saturation": "stable", "error": ""}
        for n in (1, 2)
        for seed in range(4)
    ]
    return pd.DataFrame(rows).assign(**values).astype(object)


def test_mean_and_t_interval_of_each_cell():
    values = [3.0, 5, 4, 8, 1, 1, 1, np.nan]
    found = means(table(p99_ttft_ms=values, arrived=7), ["system", PLACE])
    assert found["metric"].tolist() == ["arrived", "p99_ttft_ms"] * 2
    row = found.iloc[1]
    interval = stats.t.interval(0.95, 3, loc=5, scale=stats.sem(values[:4]))
    assert (row["low"], row["high"]) == pytest.approx(interval)
    assert (row["mean"], row["seeds"], row["unit"], row["of"]) == (5, 4, "ms", "p99 of each seed")
    assert found.iloc[0]["of"] == "value of each seed"
    assert (found.iloc[3]["mean"], found.iloc[3]["half_width"], found.iloc[3]["seeds"]) == (1, 0, 3)


def test_what_is_missing_failed_or_alone():
    frame = table(mean_ttft_ms=[1.0, 2, 3, 4, np.nan, np.nan, np.nan, np.nan])
    frame.loc[frame.index[1:4], "error"] = "it broke"
    found = means(frame, ["system", PLACE])
    assert len(found) == 1  # nothing of the second cell
    assert found.iloc[0]["seeds"] == 1
    assert found[["half_width", "low", "high"]].isna().all(axis=None)
    assert means(frame.assign(error="it broke"), ["system", PLACE]).empty
    assert means(pd.DataFrame(), ["system", PLACE]).empty


def test_the_load_stands_beside_every_number():
    frame = table(mean_ttft_ms=1.0, slo_attainment=0.5)
    frame.loc[frame.index[2], "saturation"] = "overloaded"
    loads = means(frame, ["system", PLACE])["load"].tolist()
    assert loads == ["stable, overloaded"] * 2 + ["stable"] * 2
