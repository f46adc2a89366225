"""Stationary renewal processes in operational time: unit mean gap, epochs in ``[0, horizon)``.

The first gap is the residual of a gap in progress (length-biased gap times a uniform), so that the
expected number of epochs is exactly ``horizon`` however irregular the gaps are.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bros_sim.core.errors import InputError

MAX_EPOCHS = 20_000_000
"""Most arrivals of one stream; more would exhaust the memory long before the run ends."""
Gaps = Callable[[int], NDArray[np.float64]]


def check_count(expected: float) -> None:
    """An `InputError` if so many arrivals are expected that they would not fit in memory."""
    if expected > MAX_EPOCHS:
        what = f"would make {expected:.3g} requests; the most is {MAX_EPOCHS:.0e}"
        raise InputError(f"arrivals: {what} (lower the rate or the duration)")


def _epochs(first: float, gaps: Gaps, horizon: float, cv: float) -> NDArray[np.float64]:
    check_count(horizon)
    blocks, last = [np.array([first])], first
    spread = 4 * cv * math.sqrt(horizon) + 16
    while last < horizon:
        size = min(int(horizon - last + spread) + 1, MAX_EPOCHS)
        blocks.append(last + np.cumsum(gaps(size)))
        last = float(blocks[-1][-1])
    epochs = np.concatenate(blocks)
    return epochs[: np.searchsorted(epochs, horizon)]


def poisson_epochs(horizon: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A Poisson process of rate 1."""
    check_count(horizon)
    return np.sort(rng.random(rng.poisson(horizon))) * horizon


def gamma_epochs(shape: float, horizon: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Gamma gaps; the coefficient of variation is ``1 / sqrt(shape)``."""
    first = rng.random() * rng.gamma(shape + 1) / shape
    return _epochs(first, lambda n: rng.gamma(shape, 1 / shape, n), horizon, shape**-0.5)


def weibull_epochs(shape: float, horizon: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Weibull gaps of the given shape."""
    scale = 1 / math.gamma(1 + 1 / shape)
    first = rng.random() * scale * rng.gamma(1 + 1 / shape) ** (1 / shape)
    return _epochs(first, lambda n: scale * rng.weibull(shape, n), horizon, weibull_cv(shape))


def weibull_cv(shape: float) -> float:
    """Coefficient of variation of a Weibull distribution."""
    log_ratio = math.lgamma(1 + 2 / shape) - 2 * math.lgamma(1 + 1 / shape)
    return math.sqrt(math.expm1(log_ratio))


def weibull_shape(cv: float) -> float:
    """The shape of that ``cv``, in 0.01..30. Halved here: ``scipy.optimize`` loads in 0.4 s."""
    low, high = 0.1, 200.0
    for _ in range(80):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if weibull_cv(middle) > cv else (low, middle)
    return math.sqrt(low * high)
