"""What is compared: shipped coefficients, re-made ones, the data-sheet rule, other kernels."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from benchmarks.kernel_fits.vidur import VidurDense, read_vidur_ops
from bros_sim.calibration.check import SAMPLE_SEED, SAMPLES, kernel_error
from bros_sim.calibration.derive import CALIBRATED, Efficiency, roofline_of
from bros_sim.calibration.fit import error_pct, fit_error, fit_form
from bros_sim.calibration.fit_design import Fitted
from bros_sim.calibration.gpus import KNOWN_GPUS
from bros_sim.calibration.kernels import Kernels, fit_kernels, held_out_rows
from bros_sim.calibration.kernels_tables import read_tables
from bros_sim.calibration.models import ModelConfig, model_slug
from bros_sim.calibration.profiles import Target
from bros_sim.calibration.step_rows import kinds_of, sample_steps
from bros_sim.core.errors import InputError
from bros_sim.latency.parameters import Hybrid, Roofline
from bros_sim.latency.term_parameters import KERNELS_ALONE, PerSequence, Validity
from bros_sim.profiles.profile import FitError, Profile, load_profile, profile_ids

FIT_SAMPLES, FIT_SEED = 6000, 1
VIDUR_NAMES = {
    "llama-2-7b": "meta-llama/Llama-2-7b-hf",
    "llama-2-70b": "meta-llama/Llama-2-70b-hf",
    "llama-3-8b": "meta-llama/Meta-Llama-3-8B",
    "llama-3-70b": "meta-llama/Meta-Llama-3-70B",
}


@dataclass(frozen=True)
class Pair:
    """A kernel-calibrated profile, its kernels, and the rows that judge it."""

    profile: Profile
    kernels: Kernels
    held_out: pd.DataFrame
    remade: Hybrid
    shipped_error: FitError
    remade_error: FitError


def pairs(tables: Path) -> list[Pair]:
    """Every kernel-calibrated profile, fitted anew."""
    profiles = [load_profile(name) for name in profile_ids()]
    return [_pair(item, tables) for item in profiles if item.label.startswith("Kernel-calibrated")]


def _pair(profile: Profile, tables: Path) -> Pair:
    gpu_id = profile.id.partition("/")[0]
    kernels = Kernels.of(read_tables(tables, gpu_id), profile.gpu, profile.model, profile.tp)
    within = profile.coefficients(Hybrid).validity
    remade = fit_kernels(kernels, within)
    rows = held_out_rows(kernels, within)
    against = "held-out kernel sums"
    shipped = kernel_error(profile, tables, against)
    return Pair(profile, kernels, rows, remade, shipped, fit_error(remade, rows, against))


def remade_roofline(profile: Profile) -> Fitted:
    """The roofline of a profile's hybrid without what whole runs show beyond the kernels."""
    hybrid = replace(profile.coefficients(Hybrid), engine=KERNELS_ALONE)
    seen = sample_steps(hybrid, FIT_SAMPLES, FIT_SEED)
    return fit_form(seen, "roofline", hybrid.validity, hybrid.overhead)


def rooflines(profile: Profile) -> tuple[FitError, FitError]:
    """Shipped and re-made roofline against the shipped hybrid, on the same random iterations."""
    hybrid, shipped = profile.coefficients(Hybrid), profile.coefficients(Roofline)
    remade = remade_roofline(profile)
    left = sample_steps(hybrid, SAMPLES, SAMPLE_SEED)
    return fit_error(shipped, left, "hybrid"), fit_error(remade, left, "hybrid")


def data_sheet_error(pair: Pair, efficiency: Efficiency = CALIBRATED) -> np.ndarray:
    """Signed error in percent of the data-sheet rule on the held-out rows of a pair."""
    profile = pair.profile
    config = ModelConfig(profile.model, profile.dtype, tied=False)
    target = Target(KNOWN_GPUS[profile.id.partition("/")[0]], config, profile.tp)
    model = roofline_of(target, PerSequence(), Validity(), efficiency)
    return error_pct(model, pair.held_out)


def calibrated(of: list[Pair]) -> Efficiency:
    """Factors of the data-sheet rule of least squares over these pairs, each pair alike."""

    def misses(values: np.ndarray) -> np.ndarray:
        errors = [data_sheet_error(pair, Efficiency(*values)) for pair in of]
        return np.concatenate([error / np.sqrt(error.size) for error in errors])

    start = [CALIBRATED.read, CALIBRATED.compute, CALIBRATED.kv, CALIBRATED.attention]
    start += [CALIBRATED.peer, CALIBRATED.layer_ms, CALIBRATED.allreduce_ms]
    found = least_squares(misses, start, bounds=(0, np.inf), diff_step=1e-3, x_scale=start)
    return Efficiency(*found.x.tolist())


def vidur_difference(pair: Pair, tables: Path) -> dict[str, float] | None:
    """Mean of Vidur's dense operations over aiconfigurator's, whole iterations, in percent."""
    profile = pair.profile
    gpu_id, name = profile.id.partition("/")[0], VIDUR_NAMES.get(model_slug(profile.id))
    if name is None:
        return None
    try:
        ops = read_vidur_ops(tables, gpu_id, name, profile.tp)
    except InputError:
        return None
    other = replace(pair.kernels, dense=VidurDense.like(pair.kernels.dense, ops))
    rows = held_out_rows(other, profile.coefficients(Hybrid).validity)
    change = 100 * (rows["time_s"] / pair.held_out["time_s"] - 1)
    return change.groupby(kinds_of(rows)).mean().to_dict()


def bare(profile: Profile) -> Fitted:
    """The shipped hybrid without the engine's costs: what kernel sums are compared with."""
    hybrid = profile.coefficients(Hybrid)
    return replace(hybrid, overhead=PerSequence(), engine=KERNELS_ALONE)
