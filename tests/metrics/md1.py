"""M/D/1: the exact distribution of its waits, and a simulation of it in four lines."""

from math import exp, factorial, floor

import numpy as np
from scipy.optimize import brentq

SERVICE_S, LIMIT_S, SHARE = 0.1, 0.35, 0.9


def served_within(limit_s: float, rate: float) -> float:
    """Share of the customers that leave within ``limit_s`` of their arrival (Erlang 1909)."""
    wait = limit_s - SERVICE_S
    terms = (
        (rate * (k * SERVICE_S - wait)) ** k / factorial(k) * exp(rate * (wait - k * SERVICE_S))
        for k in range(floor(wait / SERVICE_S) + 1)
    )
    return (1 - rate * SERVICE_S) * sum(terms)


def capacity() -> float:
    """The rate at which SHARE of the customers leave within LIMIT_S: 6.478 per second."""
    return brentq(lambda rate: served_within(LIMIT_S, rate) - SHARE, 1.0, 9.9)


def attainment(rate: float, count: int, seed: int) -> float:
    """The same share of ``count`` simulated customers (Lindley), less a tenth for the warm-up."""
    arrival = np.random.default_rng(seed).exponential(1.0, count).cumsum() / rate
    before = SERVICE_S * np.arange(count)
    stay = np.maximum.accumulate(arrival - before) + before + SERVICE_S - arrival
    return float(np.mean(stay[count // 10 :] <= LIMIT_S))
