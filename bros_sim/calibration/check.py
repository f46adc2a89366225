"""Checks of a profile: its structure, physical sense, and whether its stated errors hold."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bros_sim.calibration.check_physics import physics_problems
from bros_sim.calibration.fit import fit_error
from bros_sim.calibration.kernels import held_out_rows, kernels_of
from bros_sim.calibration.samples import sample_steps
from bros_sim.latency.parameters import Hybrid, Roofline
from bros_sim.latency.term_parameters import PerSequence
from bros_sim.profiles.profile import ErrorFigures, FitError, Profile, load_profile, profile_ids

TOLERANCE_PCT = 0.02  # points of percent by which a figure computed again may differ: rounding
SAMPLES, SAMPLE_SEED = 3000, 2
"""Random iterations on which a roofline is compared with the hybrid model it replaces."""
DRAWS = 6


@dataclass(frozen=True)
class Checked:
    """The results of a profile's checks."""

    id: str
    label: str
    problems: tuple[str, ...]
    errors: dict[str, FitError]
    not_computed: tuple[str, ...]


def check_profile(id_or_path: str, tables: Path | None = None) -> Checked:
    """Check a profile (id or path); errors that rest on kernel ``tables`` need their folder."""
    profile = load_profile(id_or_path)
    problems = [*_structure(profile, id_or_path), *_uncertainty(profile)]
    for kind, model in profile.models.by_kind().items():
        problems += physics_problems(profile, kind, model)
    errors, left = {}, []
    for kind, stated in profile.errors.items():
        if stated.recomputed_from == "hybrid":
            errors[kind] = roofline_error(profile, stated.against)
        elif stated.recomputed_from == "kernel tables" and tables is not None:
            errors[kind] = kernel_error(profile, tables, stated.against)
        else:
            left.append(f"{kind}: {stated.against}")
    for kind, again in errors.items():
        problems += _differences(kind, profile.errors[kind], again)
    return Checked(profile.id, profile.label, tuple(problems), errors, tuple(left))


def kernel_error(profile: Profile, tables: Path, against: str) -> FitError:
    """The hybrid model without engine overhead against held-out kernel sums of the same pair."""
    hybrid = profile.coefficients(Hybrid)
    gpu_id = profile.id.partition("/")[0]
    kernels = kernels_of(tables, gpu_id, profile.gpu, profile.model, profile.tp)
    rows = held_out_rows(kernels, hybrid.validity)
    return fit_error(replace(hybrid, overhead=PerSequence()), rows, against, "kernel tables")


def roofline_error(profile: Profile, against: str) -> FitError:
    """The roofline against the hybrid model of the same profile on random iterations."""
    hybrid, roofline = profile.coefficients(Hybrid), profile.coefficients(Roofline)
    steps = sample_steps(hybrid, hybrid.validity, SAMPLES, SAMPLE_SEED)
    return fit_error(roofline, steps, against, "hybrid")


def _structure(profile: Profile, id_or_path: str) -> Iterator[str]:
    if id_or_path in profile_ids() and profile.id != id_or_path:
        yield f"id is {profile.id}, the file says {id_or_path}"
    derived = profile.derived_num_gpu_blocks
    if derived is not None and derived != profile.kv.num_gpu_blocks:
        yield f"kv.num_gpu_blocks is {profile.kv.num_gpu_blocks}, its rule gives {derived}"
    if profile.model.heads % profile.tp:
        yield f"{profile.model.heads} heads do not divide over {profile.tp} GPUs"
    for kind, error in profile.errors.items():
        if error.p95_pct is not None and error.mape_pct is not None:
            low = error.mape_pct < abs(error.bias_pct or 0.0)
            if error.mape_pct < 0 or error.p95_pct < 0 or low:
                yield f"errors.{kind} are no errors: bias beyond MAPE, or one is negative"


def _uncertainty(profile: Profile) -> Iterator[str]:
    """Every draw is a model that the laws of physics leave standing: positive, finite times."""
    for kind, uncertainty in profile.uncertainty.items():
        model = profile.models.by_kind()[kind]
        for seed in range(DRAWS):
            drawn = uncertainty.draw(model, np.random.default_rng(seed))
            times = sample_steps(drawn, model.validity, 30, seed)["time_s"]
            if not np.isfinite(times).all() or times.min() <= 0:
                yield f"uncertainty.{kind}: draw {seed} has an iteration of {times.min():g} s"
                break


def _differences(kind: str, stated: FitError, again: FitError) -> Iterator[str]:
    for name, said, found in _far(stated, again):
        yield f"errors.{kind}.{name} is stated as {said}, computed again it is {found}"
    for part in (part for part in again.by_kind if part in stated.by_kind):
        for name, said, found in _far(stated.by_kind[part], again.by_kind[part]):
            yield f"errors.{kind}.by_kind.{part}.{name} is stated as {said}, it is {found}"


def _far(
    stated: FitError | ErrorFigures, again: FitError | ErrorFigures
) -> Iterator[tuple[str, float | None, float]]:
    for name in ("mape_pct", "p95_pct", "bias_pct"):
        said, found = getattr(stated, name), getattr(again, name)
        if said is None or abs(said - found) > TOLERANCE_PCT:
            yield name, said, found
