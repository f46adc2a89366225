"""How far a model is from rows: all of them, and prefill, decode and mixed iterations apart."""

from dataclasses import asdict
from typing import Literal

import numpy as np
import pandas as pd

from bros_sim.calibration.fit_design import Fitted, predict_s
from bros_sim.calibration.step_rows import KINDS, Floats, kinds_of
from bros_sim.profiles.profile import ErrorFigures, FitError

Basis = Literal["kernel tables", "hybrid"] | None
QUANTILES = (1, 5, 25, 50, 75, 95, 99)
"""Percent of rows: where the residual distribution is recorded."""


def error_pct(model: Fitted, steps: pd.DataFrame) -> Floats:
    """Signed error of each row in percent of its time."""
    return np.asarray(100 * (predict_s(model, steps) / steps["time_s"].to_numpy(float) - 1))


def fit_error(
    model: Fitted, steps: pd.DataFrame, against: str, recomputed_from: Basis = None
) -> FitError:
    """The error on rows that the fit did not see, rows weighted by their count."""
    errors, weights = error_pct(model, steps), steps["count"].to_numpy(float)
    kinds = kinds_of(steps)
    rows = {kind: kinds == kind for kind in KINDS if (kinds == kind).any()}
    return FitError(
        against=against,
        **asdict(_figures(errors, weights)),
        by_kind={kind: _figures(errors[row], weights[row]) for kind, row in rows.items()},
        quantiles_pct={f"p{p:02d}": _percentile(errors, weights, p) for p in QUANTILES},
        recomputed_from=recomputed_from,
    )


def _figures(errors: Floats, weights: Floats) -> ErrorFigures:
    size = np.abs(errors)
    return ErrorFigures(
        mape_pct=_round(np.average(size, weights=weights)),
        p95_pct=_percentile(size, weights, 95),
        bias_pct=_round(np.average(errors, weights=weights)),
    )


def _percentile(values: Floats, weights: Floats, percent: float) -> float:
    """The smallest value that so many percent of the weight do not exceed."""
    return _round(np.percentile(values, percent, weights=weights, method="inverted_cdf"))


def _round(value: float) -> float:
    return round(float(value), 2) + 0.0
