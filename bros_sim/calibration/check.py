"""Checks of a profile: structure, laws of physics, and whether its stated errors hold."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bros_sim.calibration.fit import fit_error
from bros_sim.calibration.gpus import KNOWN_GPUS
from bros_sim.calibration.kernels import held_out_rows, kernels_of
from bros_sim.calibration.kernels_dense import is_tied
from bros_sim.calibration.step_rows import sample_shapes, sample_steps
from bros_sim.engine.latency_model import StepShape
from bros_sim.latency.parameters import Hybrid, Linear, Roofline
from bros_sim.latency.term_parameters import FREE, KERNELS_ALONE, LatencyParameters, Validity
from bros_sim.latency.terms import MS
from bros_sim.profiles.model_shape import BYTES
from bros_sim.profiles.profile import FitError, Profile, load_profile, profile_ids

TOLERANCE_PCT = 0.02  # points of percent by which a figure computed again may differ: rounding
SAMPLES, SAMPLE_SEED = 3000, 2
"""Random iterations on which a roofline is compared with the hybrid model it replaces."""
DRAWS = 6
LAW_SAMPLES, LAW_SEED = 300, 5
LADDER = (1, 8, 32, 64, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096, 8192, 16384, 32768)
JOBS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
SLACK = 1e-9  # relative: what rounding may take away
SCATTER = 0.005  # the same between batch sizes: kernels for two requests may be measured faster


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
    bare = replace(hybrid, overhead=FREE, engine=KERNELS_ALONE)
    return fit_error(bare, rows, against, "kernel tables")


def roofline_error(profile: Profile, against: str) -> FitError:
    """The roofline against the hybrid model of the same profile on random iterations."""
    hybrid = replace(profile.coefficients(Hybrid), engine=KERNELS_ALONE)
    roofline = replace(profile.coefficients(Roofline), engine=KERNELS_ALONE)
    steps = sample_steps(hybrid, SAMPLES, SAMPLE_SEED)
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
            times = sample_steps(drawn, 30, seed)["time_s"]
            if not np.isfinite(times).all() or times.min() <= 0:
                yield f"uncertainty.{kind}: draw {seed} has an iteration of {times.min():g} s"
                break


def _differences(kind: str, stated: FitError, again: FitError) -> Iterator[str]:
    for name, said, found in _far(stated, again):
        yield f"errors.{kind}.{name} is stated as {said}, computed again it is {found}"
    for part in (part for part in again.by_kind if part in stated.by_kind):
        for name, said, found in _far(stated.by_kind[part], again.by_kind[part]):
            yield f"errors.{kind}.by_kind.{part}.{name} is stated as {said}, it is {found}"


def _far(stated: object, again: object) -> Iterator[tuple[str, float | None, float]]:
    for name in ("mape_pct", "p95_pct", "bias_pct"):
        said, found = getattr(stated, name), getattr(again, name)
        if said is None or abs(said - found) > TOLERANCE_PCT:
            yield name, said, found


def physics_problems(profile: Profile, kind: str, model: LatencyParameters) -> Iterator[str]:
    """Physically impossible answers of a model: one line and one example for each kind."""
    validity, running = model.validity, model.make()
    for name in ("max_tokens", "max_decode_jobs", "max_chunk_tokens", "max_context_tokens"):
        if getattr(validity, name) is None:
            yield f"validity.{name} is not stated"
    if validity.max_kv_tokens is None and validity.max_kv_tokens_per_job is None:
        yield "validity states no bound of KV tokens"
    if (validity.max_chunk_tokens or 0) > (validity.max_tokens or np.inf):
        yield "validity.max_chunk_tokens exceeds max_tokens"
    shapes = sample_shapes(validity, LAW_SAMPLES, LAW_SEED)
    times = [running.step_s(shape) for shape in shapes]
    if not all(np.isfinite(times)) or min(times) <= 0:
        yield f"{kind}: an iteration takes no time at all ({min(times):g} s)"
        return
    yield from _floor(profile, kind, shapes, times)
    shift_ms = profile.engine.term("graph_gemm_ms") if profile.engine else 0.0
    yield from _never_falls(kind, model, validity, max(0.0, -shift_ms))


def _floor(
    profile: Profile, kind: str, shapes: list[StepShape], times: list[float]
) -> Iterator[str]:
    """None beats reading weights and KV once at peak bandwidth, or computing at peak rate."""
    for shape, time in zip(shapes, times, strict=True):
        floor = floor_s(profile, shape)
        if time < floor * (1 - SLACK):
            yield f"{kind}: {shape} takes {1e3 * time:.3f} ms, the hardware needs {1e3 * floor:.3f}"
            return


def floor_s(profile: Profile, shape: StepShape) -> float:
    """Seconds below which no iteration can be: the larger of memory and matrix units at peak.

    The input embedding is looked up and not read, and of experts only those of one token are;
    peaks of cards unknown to ``gpus`` bind nothing.
    """
    model, size = profile.model, BYTES[profile.dtype]
    embedding = model.vocab * model.hidden
    looked_up = 0 if is_tied(model) else embedding
    read = model.active_parameters - looked_up
    # Where weights differ in size, those of experts are the smallest: the mean is a lower bound.
    weights = (profile.weight_bytes - looked_up * size) * read / (model.parameters - looked_up)
    kv = profile.kv_bytes_per_token * shape.kv_tokens
    memory = (weights + kv) / profile.tp / (1e9 * profile.gpu.bandwidth_gb_s)
    peaks = {facts.name: facts.peak_tflops for facts in KNOWN_GPUS.values()}
    peak = peaks.get(profile.gpu.name)
    if (
        peak is None or size != BYTES["float16"] or model.weight_bytes is not None
    ):  # other types do not run at the known peak
        return memory
    tokens = shape.decode_jobs + sum(chunk for chunk, _ in shape.chunks)
    return max(memory, 2 * (read - embedding) * tokens / profile.tp / (1e12 * peak))


class Ladder(NamedTuple):
    """Ever more of something; each may take less by ``slack`` or a change of matrix kernels."""

    what: str
    shapes: list[StepShape]
    slack: float = SLACK
    changes_kernels: bool = False


def _never_falls(
    kind: str, model: LatencyParameters, validity: Validity, shift_ms: float
) -> Iterator[str]:
    """More tokens, context, KV or requests of equal length: less time by ``shift_ms`` at most."""
    running = model.make()
    for ladder in _ladders(model, validity):
        times = [(shape, running.step_s(shape)) for shape in ladder.shapes]
        shift = MS * shift_ms if ladder.changes_kernels else 0.0
        for (before, shorter), (after, longer) in pairwise(times):
            if longer + shift < shorter * (1 - ladder.slack):
                yield (
                    f"{kind}: more {ladder.what} takes less time: {before} {1e3 * shorter:.3f} ms, "
                    f"{after} {1e3 * longer:.3f} ms"
                )
                break


def _ladders(model: LatencyParameters, validity: Validity) -> Iterator[Ladder]:
    tokens = validity.max_chunk_tokens or LADDER[-1]
    chunks = [n for n in LADDER if n <= min(tokens, validity.max_tokens or tokens)]
    contexts = [0, *(n for n in LADDER if n <= (validity.max_context_tokens or 0))]
    seqs = [n for n in JOBS if n <= (validity.max_decode_jobs or JOBS[-1])]
    per_seq = [n for n in LADDER if n <= (validity.max_kv_tokens_per_job or LADDER[-1])]
    prefills = [StepShape(((n, 0),), 0, 0) for n in chunks]
    beside = [StepShape(((n, 0),), 1, 64) for n in chunks]
    yield Ladder("prompt tokens", prefills, changes_kernels=True)
    yield Ladder("prompt tokens beside decode", beside, changes_kernels=True)
    # A published fit with a negative quadratic term has chunks get cheaper with context.
    if not (isinstance(model, Linear) and model.prefill_per_token2_ms < 0):
        half = chunks[-1] // 2 or 1
        yield Ladder("context", [StepShape(((half, x),), 0, 0) for x in contexts])
    for batch in seqs:
        yield Ladder("KV", [StepShape((), batch, batch * n) for n in per_seq])
    # Published fits have a jump in the batch size: a series on each side of it.
    edge = (isinstance(model, Linear) and model.large_batch_from) or JOBS[-1] + 1
    for line in ([n for n in seqs if n < edge], [n for n in seqs if n >= edge]):
        # A short and a middling length: grids are thin where long contexts meet large batches.
        for length in (per_seq[0], per_seq[len(per_seq) // 2]):
            batches = [StepShape((), batch, batch * length) for batch in line]
            yield Ladder("decode requests", batches, SCATTER)
