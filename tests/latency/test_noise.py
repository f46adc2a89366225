"""Step-time noise: its distribution, and that a factor belongs to its iteration."""

import numpy as np
import pytest
from simulations import UNEVEN, make_replica, make_request, run

from bros_sim.engine.noise import BLOCK, StepNoise

STATED = {"p01": -20.0, "p25": -5.0, "p50": 0.0, "p75": 4.0, "p99": 25.0}


def test_factors_are_measured_over_predicted_with_mean_one():
    drawn = StepNoise(STATED, seed=1, replica=0).factors(0, 40 * BLOCK)
    assert drawn.mean() == pytest.approx(1.0, abs=0.002)
    quantile = np.quantile(drawn, [0.0, 0.25, 0.5, 0.75, 1.0])
    factor = 1 / (1 + np.array([25.0, 4.0, 0.0, -5.0, -20.0]) / 100)
    np.testing.assert_allclose(quantile / quantile[2], factor, rtol=0.01)


def test_a_constant_error_is_a_bias_and_no_noise():
    np.testing.assert_allclose(StepNoise({"p01": 7.0, "p99": 7.0}, 1, 0).factors(0, 50), 1.0)


def test_a_factor_belongs_to_its_iteration_whatever_was_asked_before():
    noise = StepNoise(STATED, seed=3, replica=1)
    whole = noise.factors(0, 3 * BLOCK)
    for first, count in [(2 * BLOCK - 1, 3), (5, 1), (BLOCK, BLOCK), (0, 2 * BLOCK + 1)]:
        np.testing.assert_array_equal(noise.factors(first, count), whole[first : first + count])


def test_replicas_and_seeds_have_noise_of_their_own():
    one, other, third = (StepNoise(STATED, *who).factors(0, 9) for who in [(1, 0), (1, 1), (2, 0)])
    assert not (one == other).any()
    assert not (one == third).any()


def test_a_long_stretch_ends_as_its_iterations_one_by_one():
    requests = [make_request(n, arrival_s=0.9 * n, prompt=50, output=40) for n in range(6)]
    first, again = (
        run(requests, make_replica(latency=UNEVEN, noise=StepNoise(STATED, 1, 0), **parts))
        for parts in ({}, {"longest_stretch": 1})
    )
    assert first.requests.equals(again.requests)
    np.testing.assert_array_equal(first.iteration_end_s[0], again.iteration_end_s[0])
