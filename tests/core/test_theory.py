"""Queueing theory as an oracle: one server, one request at a time, known service times."""

import numpy as np
import pytest
from scipy import stats
from simulations import make_replica, make_request, run

from bros_sim.latency.linear import Linear
from bros_sim.schedulers.vllm import VllmScheduler
from bros_sim.schedulers.vllm_parameters import VllmParameters

pytestmark = pytest.mark.slow

REQUESTS = 20_000
SEEDS = 5
LOADS = pytest.mark.parametrize("load", [pytest.param(0.3, marks=pytest.mark.long), 0.7])


def _mean_wait(seed: int, load: float, prompts: np.ndarray, service_s: np.ndarray) -> float:
    rng = np.random.default_rng(seed)
    arrivals = rng.exponential(service_s.mean() / load, REQUESTS).cumsum()
    requests = [
        make_request(i, arrival_s=float(arrivals[i]), prompt=int(prompts[i]), output=1)
        for i in range(REQUESTS)
    ]
    server = make_replica(
        scheduler=VllmScheduler(VllmParameters(max_num_seqs=1)),
        latency=Linear(prefill_ms=50.0, prefill_per_token_ms=0.5),
    )
    table = run(requests, server, duration_s=float(arrivals[-1]) + 1)
    return float((table.requests["first_scheduled_s"] - table.requests["arrival_s"]).mean())


def _interval(waits: list[float]) -> tuple[float, float]:
    low, high = stats.t.interval(0.99, len(waits) - 1, loc=np.mean(waits), scale=stats.sem(waits))
    return float(low), float(high)


@LOADS
def test_constant_service_is_md1(load: float):
    """Mean wait of M/D/1: load * service / (2 * (1 - load))."""
    prompts = np.full(REQUESTS, 100)
    service_s = 0.05 + 0.0005 * prompts
    waits = [_mean_wait(seed, load, prompts, service_s) for seed in range(SEEDS)]
    low, high = _interval(waits)
    assert low < load * 0.1 / (2 * (1 - load)) < high


@LOADS
def test_random_service_is_mg1(load: float):
    """Pollaczek-Khinchine: rate * E[S^2] / (2 * (1 - load))."""
    waits, theory = [], []
    for seed in range(SEEDS):
        prompts = np.random.default_rng(100 + seed).integers(1, 1000, REQUESTS)
        service_s = 0.05 + 0.0005 * prompts
        waits.append(_mean_wait(seed, load, prompts, service_s))
        rate = load / service_s.mean()
        theory.append(rate * (service_s**2).mean() / (2 * (1 - load)))
    low, high = _interval(waits)
    assert low < np.mean(theory) < high
