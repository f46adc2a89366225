"""MSER-5: the rule itself, and what a run does with it."""

import numpy as np
import pytest
from simulations import make_request, run

from bros_sim.metrics import request_metrics, summarise
from bros_sim.metrics.saturation import left_out, mser5

NOISE = np.random.default_rng(3).normal(0, 1, 1000)


def by_hand(series):
    """The definition, batch by batch."""
    means = [np.mean(series[n : n + 5]) for n in range(0, len(series) - 4, 5)]
    errors = [np.var(means[d:]) / len(means[d:]) for d in range(len(means) - 4)]
    return np.argmin(errors) / len(means)


@pytest.mark.parametrize("seed", range(20))
def test_the_rule_is_its_definition(seed):
    rng = np.random.default_rng(seed)
    series = rng.normal(0, 1, 203) + 10 * np.exp(-np.arange(203) / rng.uniform(1, 60))
    assert mser5(series) == by_hand(series)


def test_a_transient_goes_and_what_is_steady_stays():
    ramp = np.minimum(np.arange(1000) / 200, 1.0) * 50
    assert mser5(ramp + NOISE) == pytest.approx(0.2, abs=0.03)
    assert mser5(NOISE) < 0.1
    assert mser5(np.zeros(1000)) == mser5(np.full(1000, 7.1)) == 0
    assert mser5(np.arange(1000.0)) > 0.5  # it never settles


def queue(gap_s):
    """One request of a second at a time, arriving every ``gap_s`` for 200 s."""
    arrivals = np.arange(0, 200, gap_s)
    requests = [make_request(n, arrival_s=float(t), output=1) for n, t in enumerate(arrivals)]
    return run(requests, duration_s=200.0)


def burst_then_quiet():
    """200 at once, then one every two seconds: the backlog is gone long before half time."""
    early = [make_request(n, arrival_s=0.0, output=40) for n in range(200)]
    late = [make_request(200 + n, arrival_s=0.5 * n, output=1) for n in range(400)]
    return run(early + late, duration_s=200.0)


def test_the_metrics_look_at_what_is_left():
    tables = burst_then_quiet()
    requests = request_metrics(tables)
    warmup_s, settled = left_out("mser5", requests, tables.duration_s)
    assert settled
    assert 10 < warmup_s < 60
    found = summarise(tables, requests, warmup_s="mser5")["rt"]
    assert found == pytest.approx(summarise(tables, requests, warmup_s=warmup_s)["rt"], nan_ok=True)
    assert (found["warmup_s"], found["arrived"]) == (warmup_s, int(np.ceil(400 - 2 * warmup_s)))


@pytest.mark.slow
def test_a_run_that_never_settles_is_too_short_or_worse():
    tables = queue(0.001)
    requests = request_metrics(tables)
    assert left_out("mser5", requests, tables.duration_s) == (100.0, False)
    assert summarise(tables, requests, warmup_s="mser5")["rt"]["saturation"] == "overloaded"
    quiet = requests.assign(
        last_token_s=requests["arrival_s"] + np.linspace(0, 0.02, len(requests))
    )
    found = summarise(tables, quiet, warmup_s="mser5")["rt"]
    assert (found["warmup_s"], found["saturation"]) == (100.0, "too short")
    assert summarise(tables, quiet, warmup_s=100.0)["rt"]["saturation"] == "stable"
