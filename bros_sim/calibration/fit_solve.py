"""Least squares on relative error with coefficients that are not negative, and their covariance."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import nnls

from bros_sim.calibration.fit_design import Columns, Fitted, coefficients_of, design
from bros_sim.calibration.rows import kinds_of
from bros_sim.latency.terms import MS

Floats = NDArray[np.float64]

RIDGE = 1e-5
"""Weight, relative to a column's own, that decides what rows leave open: the smaller numbers."""
MOST_FACTORS = 4
KEPT_VARIANCE = 0.99
"""Share of the predictions' variance that the kept factors explain, unless there are the most."""


def row_weights(steps: pd.DataFrame) -> Floats:
    """Weight of each row: by its count, and the kinds (prefill, decode, mixed) alike; mean 1."""
    kinds = kinds_of(steps)
    share = steps["count"] / steps["count"].groupby(kinds).transform("sum")
    weights = (share / share.sum() * len(steps)).to_numpy(float)
    return np.asarray(weights)


def solve(columns: Floats, target_ms: Floats, weights: Floats, known_ms: Floats) -> Floats:
    """Coefficients >= 0 with the least weighted square of the error relative to ``target_ms``.

    ``known_ms`` is the part of each row that no coefficient has to explain. Where the rows do not
    determine a coefficient the smallest is taken.
    """
    rows = (np.sqrt(weights) / target_ms)[:, None] * columns
    size = np.sqrt((rows**2).sum(axis=0))
    used = size > 0
    scaled = rows[:, used] / size[used]
    # The triangle of a QR decomposition has the same least squares and few rows.
    ridge = RIDGE * np.eye(used.sum())
    q, r = np.linalg.qr(np.vstack([scaled, ridge]))
    missing = np.sqrt(weights) * (1 - known_ms / target_ms)
    right = q.T @ np.concatenate([missing, np.zeros(used.sum())])
    found = np.zeros(columns.shape[1])
    found[used] = nnls(r, right, maxiter=100 * int(used.sum()))[0] / size[used]
    return found


def covariance_factors(
    model: Fitted, steps: pd.DataFrame, known: tuple[str, ...] = ()
) -> tuple[Mapping[str, tuple[float, ...]], ...]:
    """The covariance of a model's coefficients given the rows it was fitted on, as few factors.

    Gauss-Newton with the sandwich estimator (HC1): rows count by their own residuals, so that
    neither equal variance nor the weights of the fit need be right. Coefficients at zero are on
    the edge of what is allowed and taken as sure, like those in ``known``. Of all directions those
    are kept that move the predictions most.

    Returns:
        Factors (ms) as ``latency.uncertainty.Uncertainty`` holds them, rounded to 3 digits.
    """
    columns, values = design(model, steps), coefficients_of(model)
    free = _free(columns, values, known)
    target = steps["time_s"].to_numpy(float) / MS
    jacobian = np.hstack(list(columns.values())) / target[:, None]
    error = jacobian @ np.concatenate(list(values.values())) - 1
    spread = _sandwich(jacobian[:, free], error, row_weights(steps))
    root = np.zeros((free.size, spread.shape[1]))
    root[free] = spread
    moves = jacobian @ root
    _, sizes, directions = np.linalg.svd(moves, full_matrices=False)
    kept = _count(sizes**2)
    return tuple(_named(root @ direction, values) for direction in directions[:kept])


def _free(
    columns: Columns, values: Mapping[str, Floats], known: tuple[str, ...]
) -> NDArray[np.bool_]:
    """Coefficients that the rows say something about."""
    parts = [
        (values[path] > 0) & (np.abs(columns[path]) > 0).any(axis=0) & (path not in known)
        for path in values
    ]
    return np.concatenate(parts)


def _sandwich(rows: Floats, error: Floats, weights: Floats) -> Floats:
    """A root R of the covariance, which is R R'."""
    size = np.sqrt((rows**2).sum(axis=0))
    scaled = rows / size
    bread = np.linalg.pinv(scaled.T @ (weights[:, None] * scaled), rcond=1e-9, hermitian=True)
    filling = scaled * (weights * error)[:, None]
    correction = len(rows) / max(1, len(rows) - rows.shape[1])
    # filling' filling = r' r, so that bread r' is a root of bread filling' filling bread.
    r = np.asarray(np.linalg.qr(np.sqrt(correction) * filling, mode="r"))
    return np.asarray((bread @ r.T) / size[:, None])


def _count(variance: Floats) -> int:
    if variance.sum() == 0:
        return 0
    share = np.cumsum(variance) / variance.sum()
    return min(MOST_FACTORS, 1 + int(np.searchsorted(share, KEPT_VARIANCE)))


def _named(direction: Floats, values: Mapping[str, Floats]) -> dict[str, tuple[float, ...]]:
    """One factor by path; paths where it is nothing are left out."""
    ends = np.cumsum([value.size for value in values.values()])
    parts = np.split(direction, ends[:-1])
    return {
        path: tuple(float(f"{number:.3g}") for number in part)
        for path, part in zip(values, parts, strict=True)
        if np.abs(part).max() > 0
    }
