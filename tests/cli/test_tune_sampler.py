"""The sampler and its space against problems whose answers are known in closed form."""

import pytest

pytest.importorskip("optuna", reason="needs optuna: pip install 'bros-sim[opt]'")

from bros_sim.study.tuning.sampler import Sampler
from bros_sim.study.tuning.space import Choice, Range, read_parameter

SPACE = [Range("x", 0.0, 1.0), Range("n", 1, 1024, log=True, whole=True), Choice("c", ("a", "b"))]
GIVEN = {"x": 0.1, "n": 7, "c": "b"}


def searched(limit, trials=60, seed=1, given=GIVEN):
    """Most x + (c == "a") / 10 with x no higher than ``limit``."""
    sampler = Sampler(SPACE, given, maximize=True, trials=trials, seed=seed)
    tried = []
    for _ in range(trials // 4):
        batch = [sampler.ask() for _ in range(4)]
        for trial, values in batch:
            tried.append(values)
            sampler.tell(
                trial, values["x"] + (values["c"] == "a") / 10, max(0, values["x"] - limit)
            )
    return tried


def test_it_learns_the_objective_and_the_limit():
    tried = searched(0.6)
    within = [values for values in tried if values["x"] <= 0.6]
    best = max(within, key=lambda values: values["x"] + (values["c"] == "a") / 10)
    assert 0.57 < best["x"] <= 0.6
    assert best["c"] == "a"
    late = [values["x"] for values in tried[30:]]
    assert sum(0.4 <= x <= 0.7 for x in late) > len(late) / 2  # by chance it would be 30 %


def test_the_seed_decides_and_what_is_given_comes_first():
    assert searched(0.6) == searched(0.6)
    assert searched(0.6) != searched(0.6, seed=2)
    assert searched(0.6)[:20] == searched(0.6, trials=20)
    assert searched(0.6, trials=4)[0] == GIVEN
    assert searched(0.6, trials=4, given={**GIVEN, "n": 2000})[0]["x"] != 0.1


def test_a_small_space_is_proposed_whole():
    space = [Choice("c", ("a", True, None)), Range("n", 2, 3, whole=True)]
    sampler = Sampler(space, {"c": 5, "n": 2}, maximize=False, trials=6, seed=0)
    tried = [tuple(sampler.ask()[1].values()) for _ in range(6)]
    assert tried == [("a", 2), ("a", 3), (True, 2), (True, 3), (None, 2), (None, 3)]


@pytest.mark.parametrize(
    ("text", "parameter"),
    [
        ("a.b=1..8", Range("a.b", 1, 8)),
        (" a = -1e-3..0.5 ", Range("a", -0.001, 0.5)),
        ("a=1..8:log", Range("a", 1, 8, log=True)),
        ("a=x,true,2,{kind: y}", Choice("a", ("x", True, 2, {"kind": "y"}))),
        ("a=../one.csv,../two.csv", Choice("a", ("../one.csv", "../two.csv"))),
    ],
)
def test_what_vary_takes(text, parameter):
    assert read_parameter(text) == parameter
    assert read_parameter(str(parameter)) == parameter or isinstance(parameter, Choice)


def test_numbers_in_a_range_have_few_digits_and_stay_in_it():
    third = Range("a", 0.33333333, 0.9)
    assert third.written(0.123456e3 / 200) == 0.6173
    assert third.written(0.33333333) == 0.33333333
    assert Range("a", 1, 8, whole=True).written(3.0) == 3
    assert not third.holds(True)
    assert not Choice("a", (True,)).holds(1)
