"""Writes re-made coefficients, errors and uncertainty into the shipped profiles."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.kernel_fits.evidence import Pair, bare, remade_roofline
from bros_sim.calibration.check import roofline_error
from bros_sim.calibration.fit_design import Fitted, covariance_factors
from bros_sim.calibration.kernels import HEAD, training_rows
from bros_sim.calibration.profiles import shown, yaml_text
from bros_sim.config.components import plain
from bros_sim.latency.parameters import Hybrid
from bros_sim.latency.term_parameters import KERNELS_ALONE
from bros_sim.profiles.profile import (
    FitError,
    Models,
    Profile,
    load_profile,
    profile_ids,
    profile_path,
)
from bros_sim.profiles.uncertainty import Uncertainty

SEEN = "kernel sums of this pair, {rows:,} rows that the fit did not see (docs/kernel-fits.md)"
KERNEL_PCT, STAND_IN_PCT, DERIVED_PCT, PUBLISHED_PCT, DERIVED_FIT_PCT = 5.0, 1.0, 10.0, 10.0, 15.0
MOST_FACTORS = 3
FOLDED_PCT = 10.0
OVERHEAD_MS, OVERHEAD_OF = 0.3, "h100-80gb/llama-2-70b-tp4"
KERNEL_BASIS = (
    "factors: Gauss-Newton covariance (sandwich) of the coefficients on kernel sums, and 0.3 ms on "
    "the engine overhead where it was not calibrated; scale: stated, kernel sums of three real "
    "H100 runs had a bias of -1.1 to +2.7 %, and Vidur's kernels differ by 4 to 17 %; "
    "twice that where decode is another kernel than the fitted one"
)


def ship(found: list[Pair]) -> None:
    """Rewrite ``models`` of the kernel-calibrated profiles; the engine's terms stay."""
    for pair in found:
        old = pair.profile.coefficients(Hybrid)
        hybrid = replace(pair.remade, overhead=old.overhead, engine=old.engine)
        alone = {"models": Models(hybrid=hybrid), "errors": {"hybrid": pair.remade_error}}
        profile = replace(pair.profile, uncertainty={}, **alone)
        models = {"hybrid": hybrid, "roofline": remade_roofline(profile)}
        until_stated = {"hybrid": plain(Uncertainty(KERNEL_BASIS, KERNEL_PCT))}
        blocks = {"models": {k: _stripped(v) for k, v in models.items()}}
        blocks["uncertainty"] = until_stated
        _rewrite(profile_path(profile.id), blocks)


def _stripped(model: Fitted) -> dict[str, object]:
    """Its keys without costs of the engine that are not known to be any."""
    return {key: value for key, value in plain(model).items() if value != plain(KERNELS_ALONE)}


def state(found: list[Pair]) -> None:
    """Rewrite the keys ``errors`` and ``uncertainty`` of every shipped profile."""
    by_id = {pair.profile.id: pair for pair in found}
    for name in profile_ids():
        profile = load_profile(name)
        pair = by_id.get(name)
        errors = dict(profile.errors) if pair is None else _errors(pair)
        uncertainty = _stated(profile) if pair is None else _kernel(pair)
        if "; terms " in profile.label:  # that of runs, or of what was carried over, stays
            uncertainty = dict(profile.uncertainty)
        blocks = {
            "errors": {kind: plain(error) for kind, error in errors.items()},
            "uncertainty": {kind: plain(item) for kind, item in uncertainty.items()},
        }
        _rewrite(profile_path(name), blocks)


def _errors(pair: Pair) -> dict[str, FitError]:
    against = SEEN.format(rows=len(pair.held_out))
    if pair.kernels.folded > 1:
        against += (
            "; decode is that of vLLM's kernel for a quarter of the heads, not the one fitted"
        )
    hybrid = replace(pair.shipped_error, against=against, recomputed_from="kernel tables")
    roofline = roofline_error(pair.profile, pair.profile.errors["roofline"].against)
    return {"hybrid": hybrid, "roofline": replace(roofline, by_kind={}, quantiles_pct={})}


def _kernel(pair: Pair) -> dict[str, Uncertainty]:
    rows = training_rows(pair.kernels, pair.profile.coefficients(Hybrid).validity)
    factors = covariance_factors(bare(pair.profile), rows, known=HEAD, most=MOST_FACTORS)
    if pair.profile.id != OVERHEAD_OF:
        factors = (*factors, {"overhead.const_ms": (OVERHEAD_MS,)})
    stand_in = "stated: that of the hybrid model and the distance from it"
    percent = KERNEL_PCT if pair.kernels.folded == 1 else FOLDED_PCT
    return {
        "hybrid": Uncertainty(KERNEL_BASIS, percent, factors),
        "roofline": Uncertainty(stand_in, percent + STAND_IN_PCT),
    }


def _stated(profile: Profile) -> dict[str, Uncertainty]:
    kind = profile.default_model
    if profile.label.startswith("Derived from kernels"):
        basis, percent = "stated: twice that of the pair it is derived from", DERIVED_PCT
    elif profile.label.startswith("Derived"):
        basis, percent = (
            "stated: that of the fits it is derived from and half as much",
            DERIVED_FIT_PCT,
        )
    else:
        basis, percent = "stated: no error of the fit is published", PUBLISHED_PCT
    return {kind: Uncertainty(basis, percent)}


def _rewrite(path: Path, blocks: Mapping[str, object]) -> None:
    text = path.read_text(encoding="utf-8")
    for key, value in blocks.items():
        block = yaml_text(shown({key: value}))
        old = re.compile(rf"^{key}:\n(?: .*\n)+", re.MULTILINE)
        text = old.sub(lambda _: block, text) if old.search(text) else text + block  # noqa: B023
    path.write_text(text, encoding="utf-8")
