"""Paired differences: against scipy's own paired tests, and what may be said of them."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bros_sim.core.errors import InputError
from bros_sim.metrics.measures import Measure, Target
from bros_sim.metrics.paired import changed_most, paired, same_requests, slo_turns

RATE = "workload.chat.arrivals.rate_rps"
TTFT = Measure("mean_ttft_ms", "rt")
CHANCE = np.random.default_rng(5).normal(0, 30, 8)
"""What the seeds have in common: much wider than any difference between the systems."""


def table(values, rate=4, **labels):
    """summary.csv: a list of values by seed for each system, and a class that nobody asks for."""
    rows = [
        {"system": system, RATE: rate, "seed": seed, **labels, "class": name, "mean_ttft_ms": value}
        for system, by_seed in values.items()
        for seed, value in enumerate(by_seed)
        for name in ("rt", "be")
    ]
    frame = pd.DataFrame(rows).assign(error="", saturation="stable")
    frame.loc[frame["class"] == "be", "mean_ttft_ms"] = 7.0
    return frame.astype(object)


def rows(values, draws=None, measure=TTFT, **options):
    drawn = pd.DataFrame() if draws is None else draws
    frame = values if isinstance(values, pd.DataFrame) else table(values, **options)
    return paired(frame, drawn, [RATE], "A", [measure])


def one(values, draws=None):
    (row,) = rows(values, draws).to_dict("records")
    return row


def test_the_numbers_are_those_of_scipy():
    first = 100 + CHANCE
    second = first + np.array([3.0, 5, 4, 2, 6, 4.5, 3.5, 5.5])
    row = one({"A": first, "B": second})
    test = stats.ttest_rel(second, first)
    interval = test.confidence_interval()
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    assert row["p_t"] == pytest.approx(test.pvalue)
    assert row["p_wilcoxon"] == pytest.approx(stats.wilcoxon(second, first).pvalue)
    assert (row["baseline"], row["mean"]) == pytest.approx((first.mean(), second.mean()))
    assert (row["verdict"], row["seeds"]) == ("higher", 8)
    assert stats.ttest_ind(second, first).pvalue > 0.5  # unpaired nothing would be seen
    assert one({"A": second, "B": first})["verdict"] == "lower"


def test_seeds_are_paired_by_their_number_not_by_their_place():
    frame = table({"A": 100 + CHANCE, "B": 103 + CHANCE})
    (row,) = rows(frame.sample(frac=1, random_state=1)).to_dict("records")
    assert (row["low"], row["high"]) == pytest.approx((3.0, 3.0))


def test_what_is_missing_or_failed_takes_its_pair_with_it():
    frame = table({"A": [1.0, 2, np.nan, 4], "B": [2.0, 4, 5, 9]})
    frame.loc[(frame["system"] == "B") & (frame["seed"] == 3), "error"] = "it broke"
    (row,) = rows(frame).to_dict("records")
    assert (row["seeds"], row["difference"]) == (2, 1.5)
    assert rows(frame, measure=Measure("mean_tpot_ms", "rt")).empty


@pytest.mark.parametrize(
    ("change", "verdict", "why"),
    [
        ([1.0, -1, 2, -2, 0], "undecided", "the interval holds 0"),
        ([0.0] * 5, "equal", ""),
        ([2.0] * 5, "higher", ""),
        ([3.0], "one seed", ""),
        ([10.0, 11, 9, 10, 10, 9, -0.1, -0.2, -0.3, -0.4], "undecided", "the Wilcoxon test"),
        ([10.0, 11, 9, 10, 10], "higher", ""),  # 5 pairs: Wilcoxon cannot see anything
    ],
)
def test_what_is_said_and_why(change, verdict, why):
    row = one({"A": np.full(len(change), 100.0), "B": 100.0 + np.array(change)})
    assert row["verdict"] == verdict
    assert row["why"].startswith(why)
    assert bool(why) == bool(row["why"])


@pytest.mark.parametrize(("flips", "verdict"), [(0, "higher"), (1, "undecided")])
def test_a_draw_that_turns_the_sign_leaves_it_undecided(flips, verdict):
    values = {"A": 100 + CHANCE, "B": 103 + CHANCE}
    drawn = []
    for draw in range(1, 21):
        lift = -5.0 if draw <= flips else 0.5
        one_draw = table({"A": 150 + CHANCE, "B": 153 + CHANCE + lift}, draw=draw)
        drawn.append(one_draw[one_draw["seed"] == draw % 8])
    row = one(values, pd.concat(drawn))
    assert (row["verdict"], row["agreeing"], row["draws"]) == (verdict, 20 - flips, 20)


def test_a_row_for_each_system_and_point_with_its_load():
    frames = [table({"A": CHANCE, "B": CHANCE + 1, "C": CHANCE - 1}, rate=r) for r in (2, 4)]
    frame = pd.concat(frames)
    full = (frame["system"] == "B") & (frame[RATE] == 4)
    frame.loc[full, "saturation"] = "overloaded"
    found = rows(frame)
    assert found[["system", RATE, "verdict", "load"]].to_numpy().tolist() == [
        ["B", 2, "higher", ""],
        ["B", 4, "higher", "stable / overloaded"],
        ["C", 2, "lower", ""],
        ["C", 4, "lower", ""],
    ]


def requests(**columns):
    frame = pd.DataFrame(columns)
    plain = {"class": "rt", "status": "completed", "ttft_s": 0.1, "slo_met": True}
    return frame.assign(**{k: v for k, v in plain.items() if k not in frame})


def test_requests_that_changed_most_and_whose_slo_turned():
    ids, arrival = ["a", "b", "c", "d"], [0.0, 1.0, 2.0, 3.0]
    base = requests(
        request_id=ids, arrival_s=arrival, e2e_s=[1.0, 2, 3, 4], slo_met=[True, True, None, False]
    )
    other = requests(
        request_id=ids[::-1],
        arrival_s=[3.5, 2.0, 1.0, 0.0],
        e2e_s=[9.0, 3.0, np.nan, 6.0],
        slo_met=[True, None, False, True],
        status=["completed", "completed", "unfinished", "completed"],
    )
    both = same_requests(base, other)
    assert both["request_id"].tolist() == ["a", "b", "c"]  # d is another client's turn
    assert changed_most(both, 5)["request_id"].tolist() == ["b", "a"]  # c did not change
    assert changed_most(both, 1)["request_id"].tolist() == ["b"]
    assert slo_turns(both) == {"both": 1, "only_baseline": 1, "only_system": 0, "neither": 0}


def test_measures_and_targets_are_read():
    assert str(Measure.parse("mean_e2el_ms", "-m")) == "mean_e2e_ms[rt]"
    assert str(Measure.parse(" be_retention ", "-m")) == "be_retention[be]"
    target = Target.parse("p99_ttft_ms[ all ]<= 2e3", "-t")
    assert (str(target), target.at_least) == ("p99_ttft_ms[all] <= 2000", False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("slo_atainment[rt] >= 0.9", "there is no metric 'slo_atainment' (did you mean 'slo_at"),
        ("slo_attainment[tr] >= 0.9", "there is no class 'tr' (known: all, be, rt)"),
        ("slo_attainment >= 99", "slo_attainment is a share, from 0 to 1"),
        ("slo_attainment >= lots", "'lots' is not a number"),
        ("slo_attainment >= nan", "'nan' is not a number"),
        ("slo_attainment", "write METRIC[CLASS] >= NUMBER"),
        ("slo_attainment > 0.9", "write METRIC[CLASS] >= NUMBER"),
        ("slo attainment >= 0.9", "write METRIC[CLASS]"),
        ("saturation <= 3", "it is a word"),
        ("be_retention[rt] >= 0.5", "be_retention is of class be"),
        ("zzz >= 1", "there is no metric 'zzz' (see `bros-sim list metrics`)"),
    ],
)
def test_bad_targets_are_one_clear_line(text, says):
    with pytest.raises(InputError) as error:
        Target.parse(text, "--target")
    assert len(error.value.lines) == 1
    assert error.value.lines[0].startswith("--target ")
    assert says in error.value.lines[0]
