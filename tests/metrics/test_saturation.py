"""The saturation verdict on M/D/1 queues of known load."""

import numpy as np
import pytest

from bros_sim.metrics.saturation import saturation


def md1(load: float, arrivals: int, seed: int, service_s: float = 1.0) -> tuple:
    """Arrivals and departures of an M/D/1 queue (Lindley) and the window they need."""
    rng = np.random.default_rng(seed)
    arrival = np.cumsum(rng.exponential(service_s / load, arrivals))
    served = service_s * np.arange(1, arrivals + 1)
    departure = np.maximum.accumulate(arrival - served + service_s) + served
    return arrival, departure, np.full(arrivals, service_s), (0.0, float(arrival[-1]))


@pytest.mark.parametrize("load", [0.3, 0.7, 0.9])
def test_below_capacity_is_stable(load):
    verdicts = [saturation(*md1(load, 2_000, seed))[0] for seed in range(40)]
    assert verdicts == ["stable"] * 40


@pytest.mark.parametrize("load", [1.2, 1.5, 4.0])
def test_above_capacity_is_overloaded(load):
    found = [saturation(*md1(load, 2_000, seed)) for seed in range(40)]
    assert {verdict for verdict, _ in found} == {"overloaded"}
    pile_up = np.mean([slope for _, slope in found])  # fluid limit: lambda - mu
    assert pile_up == pytest.approx(load - 1, rel=0.05)


def test_just_above_capacity_is_backlogged():
    verdicts = [saturation(*md1(1.03, 100_000, seed))[0] for seed in range(5)]
    assert verdicts == ["backlogged"] * 5


def test_an_old_backlog_that_drains_is_backlogged():
    bag = np.zeros(1_000)
    verdict, slope = saturation(bag, np.arange(1.0, 1_001.0), np.ones(1_000), (0.0, 1_000.0))
    assert verdict == "backlogged"
    assert slope == pytest.approx(-1, abs=0.01)


def test_few_arrivals_tell_nothing():
    assert saturation(*md1(0.5, 100, 1))[0] == "too short"
    assert saturation(np.empty(0), np.empty(0), np.empty(0), (0.0, 10.0))[0] == "too short"


def test_a_window_of_a_few_service_times_tells_nothing():
    arrival = np.arange(0.0, 100.0, 0.1)  # everybody stays 40 s: the system is still filling
    assert saturation(arrival, arrival + 40, np.full(1_000, 40.0), (0.0, 100.0))[0] == "too short"
    assert saturation(arrival, arrival + 20, np.full(1_000, 20.0), (0.0, 100.0))[0] == "stable"


def never_queueing(seed: int) -> tuple:
    """M/G/infinity: nobody waits, but a stay is a sixth of the window."""
    rng = np.random.default_rng(seed)
    arrival = np.sort(rng.uniform(0.0, 100.0, rng.poisson(200)))
    stay = rng.exponential(16.0, arrival.size)
    return arrival, arrival + stay, stay, (0.0, 100.0)


def test_long_stays_alone_raise_no_alarm():
    verdicts = [saturation(*never_queueing(seed))[0] for seed in range(300)]
    assert sum(verdict in ("overloaded", "backlogged") for verdict in verdicts) <= 3  # 3 sigma


def test_an_overload_of_long_stays_is_still_seen():
    servers, stay, arrival = 32, 20.0, np.arange(0.0, 200.0, 1 / 3.2)  # twice what they can serve
    rounds = np.arange(arrival.size) // servers
    departure = np.maximum.accumulate(np.maximum(arrival, stay * rounds)) + stay
    verdict, slope = saturation(arrival, departure, np.full(arrival.size, stay), (0.0, 200.0))
    assert verdict == "overloaded"
    assert slope == pytest.approx(1.6, rel=0.1)


def test_unserved_requests_pile_up():
    arrival = np.arange(0.0, 100.0, 0.1)
    departure = np.where(np.arange(1_000) < 500, arrival, np.nan)
    assert saturation(arrival, departure, np.ones(500), (0.0, 100.0))[0] == "overloaded"
