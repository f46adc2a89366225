"""Capacities under draws: bands and orders on hand-made curves."""

import numpy as np
import pandas as pd
import pytest

from bros_sim.metrics.capacity import capacities, capacities_by_draw, orders, with_bands
from bros_sim.metrics.intervals import band, shifted

RATE = "workload.chat.arrivals.rate_rps"
LOADS = [2.0, 4.0, 8.0]
BY = ["system"]
LINE = [1.0, 0.95, 0.75]
"""Crosses 90 % at 5 requests/s; 0.05 more at every load at 6, 0.05 less at 4."""


def rows(system, curve, **labels):
    return pd.DataFrame(
        {
            "system": system,
            RATE: LOADS,
            **labels,
            "class": "rt",
            "error": "",
            "saturation": "stable",
            "slo_attainment": curve,
        }
    ).astype(object)


def curves(nominal, by_draw, seeds=1):
    """Nominal rows with each seed 0.01 above the one before, and rows of draws by system."""
    table = [
        rows(system, np.array(curve) + 0.01 * seed, seed=seed)
        for system, curve in nominal.items()
        for seed in range(seeds)
    ]
    draws = [
        rows(system, np.array(nominal[system]) + 0.01 * (n % seeds) + shift, seed=n % seeds, draw=n)
        for system, shifts in by_draw.items()
        for n, shift in enumerate(shifts, 1)
    ]
    return pd.concat(table), pd.concat(draws)


def order(nominal, by_draw, capacity="rate@90"):
    found = orders(capacities_by_draw(*curves(nominal, by_draw), RATE, BY), BY)
    (row,) = found[found["capacity"] == capacity].to_dict("records")
    assert (row["first"], row["second"]) == tuple(nominal)
    return row["higher"], row["agreeing"], row["draws"]


def test_a_draw_moves_the_mean_by_its_difference_at_the_same_seed():
    table, draws = curves({"A": LINE}, {"A": [0.05, -0.05]}, seeds=2)
    moved = shifted(table, draws, ["system", RATE], "slo_attainment")
    mean = np.array(LINE) + 0.005
    np.testing.assert_allclose(moved["slo_attainment"].to_numpy(), [*(mean + 0.05), *(mean - 0.05)])


def test_the_band_of_the_crossing():
    table, draws = curves({"A": LINE}, {"A": [0.05, -0.05, 0.0]})
    by_draw = capacities_by_draw(table, draws, RATE, BY)
    at_90 = by_draw[by_draw["capacity"] == "rate@90"]
    assert at_90["least_rps"].tolist() == pytest.approx([5, 6, 4, 5])
    found = with_bands(capacities(table, RATE, BY), by_draw, BY).set_index("capacity")
    row = found.loc["rate@90"]
    assert (row["rate_rps"], row["low_rps"], row["high_rps"]) == pytest.approx((5, 4, 6))
    assert row["draws"] == 3


def test_a_band_that_leaves_the_grid():
    table, draws = curves({"A": LINE}, {"A": [0.2, -0.2]})
    by_draw = capacities_by_draw(table, draws, RATE, BY)
    row = with_bands(capacities(table, RATE, BY), by_draw, BY).iloc[0]
    assert row["low_rps"] == 0
    assert np.isnan(row["high_rps"])
    assert row["rate_rps"] == pytest.approx(5.0)


def test_systems_that_move_together_stay_in_order_however_wide_their_bands():
    together = list(np.linspace(-0.05, 0.05, 20))
    better = [1.0, 0.97, 0.77]
    assert order({"A": LINE, "B": better}, {"A": together, "B": together}) == ("B", 20, 20)


def test_an_order_that_flips_is_undecided():
    better = [1.0, 0.97, 0.77]
    flips = [*[0.0] * 19, 0.03]
    assert order({"A": LINE, "B": better}, {"A": flips, "B": [0.0] * 20}) == ("undecided", 19, 20)
    rare = [*[0.0] * 49, 0.03]
    assert order({"A": LINE, "B": better}, {"A": rare, "B": [0.0] * 50}) == ("B", 49, 50)


def test_equal_systems_and_two_beyond_the_grid_are_not_told_apart():
    assert order({"A": LINE, "B": LINE}, {"A": [0.0], "B": [0.0]})[0] == "neither"
    assert order({"A": LINE, "B": LINE}, {"A": [0.01], "B": [0.0]})[0] == "undecided"
    high = {"A": [1.0, 1.0, 0.95], "B": [1.0, 1.0, 0.99]}
    assert order(high, {"A": [0.0], "B": [0.0]})[0] == "neither"
    assert order({"A": [1.0, 0.95, 0.95], "B": LINE}, {"A": [0.0], "B": [0.0]})[0] == "A"
    assert order({"A": [0.5, 0.4, 0.3], "B": LINE}, {"A": [0.0], "B": [0.0]})[0] == "B"


def test_only_draws_that_both_have_are_compared():
    table, draws = curves({"A": LINE, "B": [1.0, 0.97, 0.77]}, {"A": [0.0, 0.03], "B": [0.0, 0.0]})
    lost = (draws["system"] == "B") & (draws["draw"] == 2) & (draws[RATE] == 4)
    draws.loc[lost, "error"] = "it broke"
    found = orders(capacities_by_draw(table, draws, RATE, BY), BY)
    assert found["draws"].tolist() == [1, 1]
    assert found["higher"].tolist()[0] == "B"


def test_the_band_of_few_values_is_all_of_them():
    assert band(np.array([3.0, 1.0, 2.0])) == (1.0, 3.0)
    assert band(np.append(np.arange(99.0), np.inf)) == (2.0, 97.0)
