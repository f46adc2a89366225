"""Counts, sums and maxima over the requests of a class."""

import numpy as np

from bros_sim.metrics.latencies import Measured, known
from bros_sim.metrics.requests import floats
from bros_sim.metrics.sample import Sample
from bros_sim.metrics.tokens import Floats


def with_status(status: str) -> Measured[int]:
    """Requests of the window that came to this."""
    return lambda sample: int((sample.window["status"] == status).sum())


def total(column: str) -> Measured[int]:
    """The sum of a column over the requests of the window."""
    return lambda sample: int(sample.window[column].sum())


def max_itl_ms(sample: Sample) -> float:
    """The longest gap between two tokens of any request."""
    return _max_ms(floats(sample.window, "max_itl_s"))


def longest_wait_ms(sample: Sample) -> float:
    """Longest time to first scheduled; up to the end of the run for those that still wait."""
    table = sample.window
    scheduled = floats(table, "first_scheduled_s")
    waiting = np.isnan(scheduled) & (table["status"] == "unfinished")
    return _max_ms(np.where(waiting, sample.run.end_s, scheduled) - floats(table, "arrival_s"))


def _max_ms(seconds: Floats) -> float:
    found = known(seconds)
    return 1e3 * float(found.max()) if found.size else np.nan
