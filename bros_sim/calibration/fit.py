"""From a steps file to a profile: fit to most rows, judge by the held-out ones."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from bros_sim.calibration.fit_design import Fitted, covariance_factors, predict_s
from bros_sim.calibration.fit_forms import fit_hybrid, fit_linear, fit_roofline
from bros_sim.calibration.profiles import Target, assemble
from bros_sim.calibration.step_rows import KINDS, Floats, kinds_of, split
from bros_sim.core.errors import InputError
from bros_sim.latency.term_parameters import PerSequence, Validity
from bros_sim.profiles.profile import ErrorFigures, FitError, Profile, Source
from bros_sim.profiles.uncertainty import Uncertainty

Form = Literal["hybrid", "linear", "roofline"]
Basis = Literal["kernel tables", "hybrid"] | None
QUANTILES = (1, 5, 25, 50, 75, 95, 99)  # percent of rows: the recorded residual distribution
LEAST_ROWS = 12  # rows of a kind of iteration below which nothing can be fitted and judged


@dataclass(frozen=True)
class Fit:
    """A fitted model, and the rows it was fitted on and judged by."""

    form: Form
    model: Fitted
    fitted: pd.DataFrame
    held_out: pd.DataFrame


def fit_steps(steps: pd.DataFrame, form: Form) -> Fit:
    """Fit a form to three quarters of the rows (``split``); `InputError` if they are too few."""
    kinds = kinds_of(steps)
    counts = {kind: int((kinds == kind).sum()) for kind in KINDS}
    if counts["decode"] < LEAST_ROWS or counts["prefill"] + counts["mixed"] < LEAST_ROWS:
        found = ", ".join(f"{number} {kind}" for kind, number in counts.items())
        raise InputError(
            f"a fit needs {LEAST_ROWS} rows of decode and as many with prefill; there are {found}"
        )
    held_out = split(steps)
    fitted = steps[~held_out].reset_index(drop=True)
    model = fit_form(fitted, form, validity_of(steps))
    return Fit(form, model, fitted, steps[held_out].reset_index(drop=True))


def fit_form(
    steps: pd.DataFrame, form: Form, validity: Validity, overhead: PerSequence | None = None
) -> Fitted:
    """The form of least relative error on all rows; engine time is inside unless ``overhead``."""
    if form == "linear":
        return fit_linear(steps, validity)
    if form == "roofline":
        return fit_roofline(steps, validity, overhead or PerSequence())
    return fit_hybrid(steps, validity)


def validity_of(steps: pd.DataFrame) -> Validity:
    """The range of the rows; a chunk is taken as the mean of its row."""
    seqs, chunks = steps["decode_jobs"], steps["prefill_chunks"]
    per_seq = (steps["decode_kv_tokens"] / seqs.where(seqs > 0)).max()
    chunk = (steps["prefill_tokens"] / chunks.where(chunks > 0)).max()
    context = (steps["prefill_context_tokens"] / chunks.where(chunks > 0)).max()
    found = {
        "max_tokens": (steps["prefill_tokens"] + seqs).max(),
        "max_decode_jobs": seqs.max(),
        "max_kv_tokens": steps["decode_kv_tokens"].max(),
        "max_kv_tokens_per_job": per_seq,
        "max_chunk_tokens": chunk,
        "max_context_tokens": context,
    }
    # At least 1: what was never measured is outside.
    bounds = {name: int(np.ceil(np.nan_to_num(value))) for name, value in found.items()}
    return Validity(**{name: max(1, bound) for name, bound in bounds.items()})


def fitted_profile(fit: Fit, target: Target, file: Path, source: str) -> Profile:
    """The profile of a fit; ``source`` says what engine was measured, for label and sources."""
    against = f"measured steps of {file.name}: {len(fit.held_out)} rows held out of the fit"
    uncertainty = Uncertainty(
        basis=f"Gauss-Newton covariance (sandwich) of the fit to {len(fit.fitted)} rows; what "
        "differs between machines, runs and releases is not in it",
        factors=covariance_factors(fit.model, fit.fitted),
    )
    return assemble(
        target,
        fit.model,
        label=f"Fitted to measured steps ({source})",
        error=fit_error(fit.model, fit.held_out, against),
        uncertainty=uncertainty,
        sources=(Source(f"{source} ({file.name})", "the measurer's own", "all coefficients"),),
        notes=("Engine time is inside the fitted terms.", *_unseen(fit)),
    )


def _unseen(fit: Fit) -> list[str]:
    unseen = [kind for kind in KINDS if kind not in set(kinds_of(fit.fitted))]
    notes = [f"No {kind} iteration was measured." for kind in unseen]
    if not (fit.fitted["prefill_context_tokens"] > 0).any():
        notes.append("No prefill after cached tokens was measured: its cost is extrapolated.")
    return notes


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
