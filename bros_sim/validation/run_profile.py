"""The profile that a fit to runs leaves: label, terms with their basis, and uncertainty."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bros_sim.profiles.profile import Profile
from bros_sim.profiles.uncertainty import Uncertainty
from bros_sim.validation.fit_runs import RunFit
from bros_sim.validation.run_statistics import RecordedRun
from bros_sim.validation.terms import TERMS, stated

LEAST_SCALE_PCT = 2.0
"""Below this nobody's runs of one server agree with each other."""


def fitted_profile(fit: RunFit, runs: Sequence[RecordedRun]) -> Profile:
    """The profile to be written: it says which runs its terms rest on.

    The bands are drawn from the covariance of the terms in the latency model, and from what the
    fit leaves of the runs.
    """
    kind = fit.profile.default_model
    where = ", ".join(f"{run.name} (vLLM {run.arguments.vllm_version or '?'})" for run in runs)
    basis = f"fitted to {len(runs)} run(s) of whole servers: {where}"
    profile = stated(
        fit.profile,
        dict(zip(fit.terms, fit.values.tolist(), strict=True)),
        dict(zip(fit.terms, (float(f"{e:.2g}") for e in fit.standard_errors), strict=True)),
        basis,
    )
    scale = round(max(LEAST_SCALE_PCT, fit.residual_pct), 2)
    uncertainty = Uncertainty(
        f"factors: covariance of the terms that were {basis}; scale: what that fit leaves of mean "
        "TPOT, and 2 % at least",
        scale,
        _factors(fit),
    )
    label = profile.label.partition("; terms fitted to ")[0]
    return replace(
        profile,
        label=f"{label}; terms fitted to {len(runs)} run(s)",
        uncertainty={**profile.uncertainty, kind: uncertainty},
    )


def _factors(fit: RunFit) -> tuple[dict[str, tuple[float, ...]], ...]:
    """Roots of the covariance of those terms that the latency model has."""
    inner = [n for n, name in enumerate(fit.terms) if TERMS[name].path]
    deviations = fit.standard_errors[inner]
    covariance = fit.correlation[np.ix_(inner, inner)] * np.outer(deviations, deviations)
    variances, directions = np.linalg.eigh(covariance)
    factors: list[dict[str, tuple[float, ...]]] = []
    for variance, direction in zip(variances[::-1], directions.T[::-1], strict=True):
        root = direction * np.sqrt(max(variance, 0.0))
        named: dict[str, tuple[float, ...]] = {
            TERMS[fit.terms[n]].path: (float(f"{value:.3g}"),)
            for n, value in zip(inner, root, strict=True)
            if abs(value) > 1e-9
        }
        if named:
            factors.append(named)
    return tuple(factors)
