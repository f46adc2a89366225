"""How much of a run to leave out: MSER-5 on the number of requests in the system.

White (Simulation 1997), and White, Cobb and Spratt (WSC 2000): of all truncations the one after
which the mean of the rest has the least standard error, taken over means of five observations.
"""

from typing import Literal

import numpy as np
import pandas as pd

from bros_sim.metrics.saturation import backlog, stays
from bros_sim.metrics.tokens import Floats

WarmUp = float | Literal["mser5"]
BATCH = 5
OBSERVATIONS = 1000
"""Samples of the backlog, evenly spaced over the window of arrivals."""
LEAST_LEFT = 5
"""Batches whose spread still says something."""


def left_out(wanted: WarmUp, requests: pd.DataFrame, duration_s: float) -> tuple[float, bool]:
    """Seconds to leave out, and whether the run settled at all, as far as the rule is asked.

    A truncation in the second half of the window means that it did not: then half is left out.
    """
    if not isinstance(wanted, str):
        return wanted, True
    kept = requests[(requests["status"] != "rejected").to_numpy(np.bool_)]
    times = (np.arange(OBSERVATIONS) + 0.5) * duration_s / OBSERVATIONS
    share = mser5(backlog(*stays(kept), times))
    return min(share, 0.5) * duration_s, share <= 0.5


def mser5(series: Floats) -> float:
    """The share of ``series`` to leave out at its start; ties for the smallest."""
    batches = series[: series.size // BATCH * BATCH].reshape(-1, BATCH).mean(axis=1)
    left = np.arange(batches.size, 0, -1)  # batches that remain from each one on
    total, squares = (np.cumsum(x[::-1])[::-1] for x in (batches, batches**2))
    error = (squares - total**2 / left) / left**2
    error = np.maximum(error[: -LEAST_LEFT + 1], 1e-12 * float(squares[0]) / batches.size**2)
    return int(np.argmin(error)) / len(batches)
