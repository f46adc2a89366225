"""Confidence intervals over seeds."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95


def half_width(sample: NDArray[np.float64]) -> float:
    """Half of the 95 % t interval of the mean; 0 for one seed, which has no interval."""
    if sample.size < 2:
        return 0.0
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, sample.size - 1)
    return float(quantile * sample.std(ddof=1) / np.sqrt(sample.size))
