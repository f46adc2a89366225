"""The figure of ``profile show --plot``: what prefill and decode iterations cost."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bros_sim.core.errors import InputError
from bros_sim.engine.latency_model import LatencyModel, StepShape
from bros_sim.latency.term_parameters import Validity
from bros_sim.profiles.profile import Profile

STYLES = {"hybrid": "-", "layers": "-", "linear": "-", "table": "-", "roofline": ":"}
COLOURS = ("#0b3c5d", "#2a7fb8", "#e08e0b", "#b8322a")
KV_PER_JOB = (256, 1024, 2048, 4096)


def draw(profile: Profile, path: Path) -> None:
    """Draw prefill time against tokens and decode time against batch size into ``path``.

    Raises:
        InputError: The file cannot be written.
    """
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    prefill, decode = figure.subplots(1, 2)
    _draw_prefill(prefill, profile)
    _draw_decode(decode, profile)
    figure.suptitle(f"{profile.id}: {profile.label}", fontsize=10)
    for axes in (prefill, decode):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(0, 1.2 * axes.dataLim.ymax)
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
        axes.tick_params(labelsize=8)
        axes.legend(fontsize=7.5, frameon=False, loc="upper left")
    try:
        figure.savefig(path, dpi=160)
    except OSError as error:
        raise InputError(f"--plot {path}: cannot be written: {error.strerror or error}") from None


def _draw_prefill(axes: Axes, profile: Profile) -> None:
    bound = _validity(profile)
    edge = _smallest(bound.max_tokens, bound.max_chunk_tokens)
    last = int(1.25 * edge) if edge else profile.model.max_model_len
    tokens = np.unique(np.linspace(1, last, 400).astype(int))
    for kind, model in _models(profile):
        times = [1e3 * model.step_s(StepShape(((int(n), 0),), 0, 0)) for n in tokens]
        axes.plot(tokens, times, STYLES[kind], color=COLOURS[0], label=kind)
    if edge:
        _shade(axes, edge, last, "outside the validity range")
    axes.set_xlim(0, last)
    axes.set_xlabel("tokens of one prefill, nothing cached", fontsize=9)
    axes.set_ylabel("iteration (ms)", fontsize=9)


def _draw_decode(axes: Axes, profile: Profile) -> None:
    bound = _validity(profile)
    edge = bound.max_decode_jobs
    last = int(1.25 * edge) if edge else 256
    for kind, model in _models(profile):
        for colour, kv in zip(COLOURS, _kv_lengths(profile), strict=False):
            label = f"{kv:,} KV tokens per request" if kind == profile.default_model else None
            seqs = range(1, min(last, _most_seqs(profile, kv)) + 1)
            times = [1e3 * model.step_s(StepShape((), b, b * kv)) for b in seqs]
            axes.plot(seqs, times, STYLES[kind], color=colour, label=label)
    if edge:
        _shade(axes, edge, last)
    axes.set_xlim(0, last)
    axes.set_xlabel("requests that decode (until KV is full or out of range)", fontsize=9)


def _shade(axes: Axes, edge: int, last: int, label: str | None = None) -> None:
    axes.axvspan(edge, last, color="#9a9a9a", alpha=0.18, linewidth=0, label=label)


def _most_seqs(profile: Profile, kv_per_job: int) -> int:
    """How many requests of that length the KV cache and the validity range allow."""
    capacity = profile.kv.num_gpu_blocks * profile.kv.block_size
    return _smallest(capacity, _validity(profile).max_kv_tokens) // kv_per_job


def _kv_lengths(profile: Profile) -> list[int]:
    limit = _smallest(profile.model.max_model_len, _validity(profile).max_kv_tokens_per_job)
    return [kv for kv in KV_PER_JOB if kv <= limit]


def _models(profile: Profile) -> Iterator[tuple[str, LatencyModel]]:
    for kind, parameters in profile.models.by_kind().items():
        yield kind, parameters.make()


def _validity(profile: Profile) -> Validity:
    return profile.models.by_kind()[profile.default_model].validity


def _smallest(*bounds: int | None) -> int:
    """The tightest bound; 0 where there is none."""
    return min((bound for bound in bounds if bound is not None), default=0)
