"""The grid of simulated time: every instant is a multiple of 2**-30 s (0.93 ns).

Below 2**22 s (48 days) sums and differences of floats are exact on it: a stretch of iterations ends
at the very instant at which they end one by one, and ties are ties on every machine.
"""

import numpy as np
from numpy.typing import NDArray

TICKS_PER_S = 2.0**30
TICK_S = 1.0 / TICKS_PER_S
HORIZON_S = 2.0**22
"""Latest representable instant; longer experiments are refused."""


def on_grid(seconds: float) -> float:
    """The grid point nearest to ``seconds``."""
    return round(seconds * TICKS_PER_S) / TICKS_PER_S


def to_grid(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The grid points nearest to ``seconds``, element by element as `on_grid`."""
    return np.rint(seconds * TICKS_PER_S) / TICKS_PER_S
