"""The figures of ``profile show --plot`` and ``profile fit --plot``."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bros_sim.calibration.fit import Fit
from bros_sim.calibration.fit_errors import error_pct
from bros_sim.calibration.step_rows import KINDS, kinds_of
from bros_sim.core.atomic import written
from bros_sim.core.errors import InputError
from bros_sim.core.labels import counted
from bros_sim.engine.latency_model import LatencyModel, StepShape
from bros_sim.latency.term_parameters import Validity
from bros_sim.plots import style
from bros_sim.profiles.profile import Profile

STYLES = {"hybrid": "-", "layers": "-", "linear": "-", "table": "-", "roofline": ":"}
COLOURS = ("#0b3c5d", "#2a7fb8", "#e08e0b", "#b8322a")
KV_PER_JOB = (256, 1024, 2048, 4096)
FITTED = "#bbbbbb"
FIT_HEIGHT_IN = 2.3


def draw_profile(profile: Profile, path: Path) -> None:
    """Draw prefill time against tokens and decode time against batch size into ``path``."""
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    prefill, decode = figure.subplots(1, 2)
    _prefill(prefill, profile)
    _decode(decode, profile)
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


def _prefill(axes: Axes, profile: Profile) -> None:
    bound = _validity(profile)
    edge = _smallest(bound.max_tokens, bound.max_chunk_tokens)
    last = int(1.25 * edge) if edge else profile.model.max_model_len
    tokens = np.unique(np.linspace(1, last, 400).astype(int))
    for kind, model in _models(profile):
        times = [1e3 * model.step_s(StepShape(((int(n), 0),), 0, 0)) for n in tokens]
        axes.plot(tokens, times, STYLES[kind], color=COLOURS[0], label=kind)
    _x_axis(axes, edge, last, "tokens of one prefill, nothing cached", "outside the validity range")
    axes.set_ylabel("iteration (ms)", fontsize=9)


def _decode(axes: Axes, profile: Profile) -> None:
    bound = _validity(profile)
    edge = bound.max_decode_jobs
    last = int(1.25 * edge) if edge else 256
    room = _smallest(profile.kv.num_gpu_blocks * profile.kv.block_size, bound.max_kv_tokens)
    longest = _smallest(profile.model.max_model_len, bound.max_kv_tokens_per_job)
    lengths = [kv for kv in KV_PER_JOB if kv <= longest]
    for kind, model in _models(profile):
        for colour, kv in zip(COLOURS, lengths, strict=False):
            label = f"{kv:,} KV tokens per request" if kind == profile.default_model else None
            seqs = range(1, min(last, room // kv) + 1)
            times = [1e3 * model.step_s(StepShape((), b, b * kv)) for b in seqs]
            axes.plot(seqs, times, STYLES[kind], color=colour, label=label)
    _x_axis(axes, edge, last, "requests that decode (until KV is full or out of range)")


def _x_axis(axes: Axes, edge: int | None, last: int, words: str, beyond: str | None = None) -> None:
    if edge:
        axes.axvspan(edge, last, color="#9a9a9a", alpha=0.18, linewidth=0, label=beyond)
    axes.set_xlim(0, last)
    axes.set_xlabel(words, fontsize=9)


def _models(profile: Profile) -> Iterator[tuple[str, LatencyModel]]:
    for kind, parameters in profile.models.by_kind().items():
        yield kind, parameters.make()


def _validity(profile: Profile) -> Validity:
    return profile.models.by_kind()[profile.default_model].validity


def _smallest(*bounds: int | None) -> int:
    """The tightest bound; 0 where there is none."""
    return min((bound for bound in bounds if bound is not None), default=0)


def draw_fit(fit: Fit, title: str, path: Path) -> None:
    """A panel for each kind of iteration: error against measured time, held-out rows in colour."""
    every = set(kinds_of(fit.fitted)) | set(kinds_of(fit.held_out))
    kinds = [kind for kind in KINDS if kind in every]
    with style.paper_style():
        figure, axes = style.panels(kinds, FIT_HEIGHT_IN)
        for panel, kind, colour in zip(axes, kinds, style.PALETTE, strict=False):
            _fit_panel(panel, fit, kind, colour)
        style.label_axes(axes, "measured step (ms)", "fit - measured (%)")
        rows = counted(len(fit.fitted), "row")
        note = f"{fit.form}; grey: the {rows} of the fit; colour: {len(fit.held_out)} held out"
        style.finish(figure, title, note)
    content = style.render(figure, path.suffix.lower()[1:])
    with written(path) as draft:
        draft.write_bytes(content)


def _fit_panel(panel: Axes, fit: Fit, kind: str, colour: str) -> None:
    for steps, shade, size in ((fit.fitted, FITTED, 5), (fit.held_out, colour, 8)):
        rows = steps[kinds_of(steps) == kind]
        if len(rows):
            errors = error_pct(fit.model, rows)
            panel.scatter(1e3 * rows["time_s"], errors, color=shade, s=size, linewidths=0)
    panel.axhline(0, color=style.DARK, linewidth=0.6, zorder=0)
    panel.set_xscale("log")
