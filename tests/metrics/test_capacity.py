"""Capacity read off made-up attainment curves."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bros_sim.metrics.capacity import capacities, crossing

LOADS = np.array([2.0, 4.0, 8.0])
RATE = "workload.chat.arrivals.rate_rps"


def table(curves, loads=LOADS, **labels):
    """summary.csv of one system: a curve per seed, and rows that are none of RT's."""
    rows = [
        {"system": "A", RATE: load, "seed": seed, "class": name, "slo_attainment": share, **labels}
        for seed, curve in enumerate(curves)
        for load, share in zip(loads, curve, strict=True)
        for name in ("rt", "be", "all")
    ]
    frame = pd.DataFrame(rows).assign(error="", saturation="stable")
    frame.loc[frame["class"] != "rt", "slo_attainment"] = 0.123
    return frame.astype(object)


def of(curves, target="rate@90", **options):
    found = capacities(table(curves, **options), RATE, ["system"]).set_index("capacity")
    return found.loc[target]


@pytest.mark.parametrize(
    ("shares", "target", "rate", "at_least", "below"),
    [
        ([1.0, 0.95, 0.75], 0.9, 5.0, 4, 8),
        ([1.0, 0.9, 0.9], 0.9, np.nan, 8, np.nan),
        ([1.0, 0.9, 0.5], 0.9, 4.0, 4, 8),
        ([0.9, 0.3, 0.1], 0.9, 2.0, 2, 4),
        ([0.89, 0.3, 0.1], 0.9, np.nan, np.nan, 2),
        ([1.0, 1.0, 1.0], 0.99, np.nan, 8, np.nan),
    ],
)
def test_linear_between_loads_and_plain_about_the_edges(shares, target, rate, at_least, below):
    found = crossing(LOADS, np.array(shares), target)
    assert [found.rate, found.at_least, found.below] == pytest.approx(
        [rate, at_least, below], nan_ok=True
    )


def test_a_dip_is_pooled_with_what_rises_after_it():
    found = crossing(np.array([1.0, 2, 3, 4]), np.array([1.0, 0.8, 0.9, 0.5]), 0.85)
    assert (found.rate, found.at_least) == pytest.approx((3.0, 3.0))  # 1, 0.85, 0.85, 0.5
    found = crossing(np.array([1.0, 2, 3, 4]), np.array([1.0, 0.8, 0.9, 0.5]), 0.9)
    assert found.rate == pytest.approx(1 + 0.1 / 0.15)


def test_the_mean_curve_gives_the_rate_and_the_seeds_the_interval():
    curves = [[1.0, 0.95, 0.75], [1.0, 0.95, 0.85], [1.0, 0.95, 0.65]]
    found = of(curves)
    own = np.array([5.0, 6.0, 4 + 4 * 0.05 / 0.3])
    assert found["rate_rps"] == pytest.approx(5.0)
    assert found["half_width_rps"] == pytest.approx(stats.t.ppf(0.975, 2) * stats.sem(own))
    assert (found["seeds"], found["load"]) == (3, RATE)


def test_no_interval_without_a_crossing_of_every_seed():
    assert np.isnan(of([[1.0, 0.95, 0.75]])["half_width_rps"])
    found = of([[1.0, 1.0, 0.95], [1.0, 0.9, 0.5]])
    assert found["rate_rps"] == pytest.approx(4 + 4 * 0.05 / 0.225)
    assert np.isnan(found["half_width_rps"])


def test_a_load_counts_only_if_every_seed_has_it():
    found = of([[1.0, np.nan, 0.8], [1.0, 0.1, 0.8]])
    assert found["rate_rps"] == pytest.approx(5.0)
    failed = table([[1.0, 0.95, 0.75], [1.0, 0.95, 0.75]])
    failed.loc[(failed["seed"] == 1) & (failed[RATE] == 4), "error"] = "failed"
    assert capacities(failed, RATE, ["system"])["below_rps"].tolist() == [8, 8]
    assert capacities(failed, RATE, ["system"])["at_least_rps"].tolist() == [2, 2]


def test_a_row_per_system_and_point_of_the_other_axes():
    other = {"workload.chat.slo.ttft_s": 0.5}
    frames = [
        table([[1.0, 0.95, 0.75]], **other),
        table([[0.5, 0.5, 0.5]], **other).assign(system="B"),
        table([[np.nan] * 3], **other).assign(system="C"),
    ]
    found = capacities(pd.concat(frames), RATE, ["system", *other])
    assert found["system"].tolist() == ["A", "A", "B", "B"]
    assert found["rate_rps"].round(3).fillna(-1).tolist() == [5.0, 2.4, -1, -1]
    assert found["workload.chat.slo.ttft_s"].tolist() == [0.5] * 4


@pytest.mark.parametrize(
    ("kept", "at_90", "at_99"),
    [([0.9, 0.55, 0.15], 4.5, 2.4), ([0.9, 0.8, 0.6], 5.0, 2.4), ([0.4, 0.3, 0.1], None, None)],
)
def test_the_joint_form_is_the_lower_of_two_crossings(kept, at_90, at_99):
    """RT falls to 90 % at 5.0 and to 99 % at 2.4; BE falls to half at 4.5, nowhere, or before."""
    frame = table([[1.0, 0.95, 0.75]])
    frame["be_retention"] = np.nan
    frame.loc[frame["class"] == "be", "be_retention"] = kept
    found = capacities(frame, RATE, ["system"]).set_index("capacity")
    assert found.index.to_list() == ["rate@90", "rate@99", "rate@90, BE@50", "rate@99, BE@50"]
    joint = [found.loc[f"{name}, BE@50", "rate_rps"] for name in ("rate@90", "rate@99")]
    expected = [np.nan if rate is None else rate for rate in (at_90, at_99)]
    assert joint == pytest.approx(expected, nan_ok=True)
    assert found.loc["rate@90", "rate_rps"] == pytest.approx(5.0)


def test_each_seed_has_a_joint_rate_of_its_own():
    frame = table([[1.0, 0.95, 0.75], [1.0, 0.95, 0.75]])
    frame["be_retention"] = np.nan
    frame.loc[frame["class"] == "be", "be_retention"] = [0.9, 0.55, 0.15, 0.9, 0.8, 0.0]
    found = capacities(frame, RATE, ["system"]).set_index("capacity").loc["rate@90, BE@50"]
    own = np.array([4.5, 5.0])
    half = stats.t.ppf(0.975, 1) * own.std(ddof=1) / np.sqrt(2)
    assert found["half_width_rps"] == pytest.approx(half)


@pytest.mark.parametrize(
    ("loads", "words"), [([2], ""), ([4], "too short"), ([4, 8], "overloaded, too short")]
)
def test_a_rate_between_loads_that_are_no_steady_state_says_so(loads, words):
    frame = table([[1.0, 0.95, 0.75], [1.0, 0.95, 0.75]])
    for load, word in zip(loads, ("too short", "overloaded"), strict=False):
        frame.loc[(frame[RATE] == load) & (frame["seed"] == 1), "saturation"] = word
    assert capacities(frame, RATE, ["system"])["saturation"].iloc[0] == words
