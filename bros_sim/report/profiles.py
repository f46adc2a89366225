"""Profiles in tables and figures: the shipped ones, facts of one, what a fit or a check found."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bros_sim.calibration.check import Checked
from bros_sim.calibration.fit import Fit, error_pct
from bros_sim.calibration.step_rows import KINDS, kinds_of
from bros_sim.config.components import plain
from bros_sim.core.atomic import written
from bros_sim.core.errors import InputError
from bros_sim.core.labels import counted
from bros_sim.engine.latency_model import LatencyModel, StepShape
from bros_sim.latency.term_parameters import Validity
from bros_sim.plots import style
from bros_sim.profiles.profile import GIB, ErrorFigures, FitError, Profile
from bros_sim.report.tables import Part, Printed, Table

SHAPES = {
    "decode 1 request, 1,024 KV tokens": StepShape((), 1, 1024),
    "decode 64 requests, 65,536 KV tokens": StepShape((), 64, 65536),
    "prefill 512 tokens": StepShape(((512, 0),), 0, 0),
    "prefill 2,048 tokens": StepShape(((2048, 0),), 0, 0),
    "prefill 512 tokens beside 64 decodes": StepShape(((512, 0),), 64, 65536),
}
"""Iterations to judge a profile by."""
STYLES = {"hybrid": "-", "layers": "-", "linear": "-", "table": "-", "roofline": ":"}
COLOURS = ("#0b3c5d", "#2a7fb8", "#e08e0b", "#b8322a")
KV_PER_JOB = (256, 1024, 2048, 4096)
FITTED = "#bbbbbb"
FIT_HEIGHT_IN = 2.3


@dataclass(frozen=True)
class ProfileList(Printed):
    """Label, KV blocks and fit error of some profiles."""

    profiles: Sequence[Profile]

    def parts(self) -> Iterator[Part]:
        rows = []
        for profile in self.profiles:
            error, blocks = profile.errors[profile.default_model], profile.kv.num_gpu_blocks
            shown = ("-" if e is None else f"{e:.1f}" for e in (error.mape_pct, error.p95_pct))
            rows.append([profile.id, profile.label, profile.default_model, f"{blocks:,}", *shown])
        yield Table(["profile", "label", "model", "KV blocks", "MAPE %", "p95 %"], rows)
        yield "- not published; `profile show` says what an error is measured against"

    def plain(self) -> list[dict[str, object]]:
        return [
            {
                "id": profile.id, "label": profile.label, "default_model": profile.default_model,
                "num_gpu_blocks": profile.kv.num_gpu_blocks,
                "kv_bytes_per_token": profile.kv_bytes_per_token,
                "errors": {kind: asdict(error) for kind, error in profile.errors.items()},
            }
            for profile in self.profiles
        ]  # fmt: skip


@dataclass(frozen=True)
class ProfileFacts(Printed):
    """A profile's content, what follows from it, and a few iteration times."""

    profile: Profile

    def parts(self) -> Iterator[Part]:
        facts = _flat(self.plain(), "")
        width = max(len(key) for key, _ in facts)
        yield from (f"{key:{width}} {value}" for key, value in facts)

    def plain(self) -> dict[str, object]:
        model = self.profile.models.by_kind()[self.profile.default_model].make()
        times = {what: round(1e3 * model.step_s(it), 3) for what, it in SHAPES.items()}
        more = {"kv_bytes_per_token": self.profile.kv_bytes_per_token, "iteration_ms": times}
        return {**plain(self.profile), **more}


@dataclass(frozen=True)
class NewProfile(Printed):
    """A profile that was just made: label, KV size, and the error by kind of iteration."""

    profile: Profile
    file: Path

    def parts(self) -> Iterator[Part]:
        profile, error = self.profile, self.profile.errors[self.profile.default_model]
        blocks = f"{profile.kv.num_gpu_blocks:,} KV blocks"
        yield f"{profile.id}: {profile.label}, {profile.default_model}, {blocks}"
        yield _model_line(profile)
        yield f"error against {error.against}"
        if None not in {error.mape_pct, error.p95_pct, error.bias_pct}:
            kinds: list[tuple[str, FitError | ErrorFigures]] = [("all", error)]
            rows = [
                [kind, *(f"{figure:.2f}" for figure in (e.mape_pct, e.p95_pct, e.bias_pct))]
                for kind, e in [*kinds, *error.by_kind.items()]
            ]
            yield Table(["iterations", "MAPE %", "p95 %", "bias %"], rows)
        band = profile.uncertainty[profile.default_model].scale_pct
        if band:
            yield f"stated relative error of all iterations together: {band:g} %"
        yield from profile.notes

    def plain(self) -> dict[str, object]:
        profile = self.profile
        return {
            "id": profile.id, "label": profile.label, "file": str(self.file),
            "num_gpu_blocks": profile.kv.num_gpu_blocks,
            "kv_bytes_per_token": profile.kv_bytes_per_token,
            "weight_bytes": profile.weight_bytes, "parameters": profile.model.parameters,
            "active_parameters": profile.model.active_parameters,
            "max_model_len": profile.model.max_model_len, "notes": list(profile.notes),
            "errors": plain(profile.errors[profile.default_model]),
        }  # fmt: skip


def _model_line(profile: Profile) -> str:
    """What the weights and a token of KV take, and how long requests may be."""
    model = profile.model
    everywhere = f" over {profile.tp} GPUs" if profile.tp > 1 else ""
    active = f" ({model.active_parameters / 1e9:.2f} a token)" if model.experts else ""
    parameters = f"{model.parameters / 1e9:.2f} billion parameters{active}"
    weights = f"weights {profile.weight_bytes / GIB:.2f} GiB"
    kv = f"KV {profile.kv_bytes_per_token:,} bytes a token{everywhere}"
    return f"{parameters}, {weights}, {kv}, model length {model.max_model_len:,}"


@dataclass(frozen=True)
class Checks(Printed):
    """The results of the checks of some profiles."""

    checked: Sequence[Checked]

    @property
    def passed(self) -> bool:
        """Whether nothing falls short."""
        return not any(one.problems for one in self.checked)

    def parts(self) -> Iterator[Part]:
        for one in self.checked:
            errors = [
                f"{kind} MAPE {e.mape_pct:.2f} p95 {e.p95_pct:.2f} bias {e.bias_pct:.2f} %"
                for kind, e in one.errors.items()
            ]
            found = "; ".join(errors) or "no error computed again"
            yield f"{one.id}: {'FAILS' if one.problems else 'ok'}; {found}"
            yield from (f"  {problem}" for problem in one.problems)
        passed = sum(not one.problems for one in self.checked)
        yield f"{passed}/{len(self.checked)} profiles pass"

    def plain(self) -> list[dict[str, object]]:
        return [
            {
                "id": one.id, "label": one.label, "ok": not one.problems,
                "faults": list(one.problems),
                "errors": {kind: plain(error) for kind, error in one.errors.items()},
                "not_computed": list(one.not_computed),
            }
            for one in self.checked
        ]  # fmt: skip


def _flat(value: object, key: str) -> list[tuple[str, str]]:
    """Nested mappings and lists of mappings as ``a.b.0.c`` -> text; what is empty is left out."""
    if isinstance(value, list) and value and isinstance(value[0], dict | str):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        below = ((f"{key}.{name}" if key else str(name), item) for name, item in value.items())
        return [line for name, item in below for line in _flat(item, name)]
    if value is None:
        return []
    return [(key, value if isinstance(value, str) else json.dumps(value))]


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
    for kind, model in _models(profile).items():
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
    for kind, model in _models(profile).items():
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


def _models(profile: Profile) -> dict[str, LatencyModel]:
    return {kind: parameters.make() for kind, parameters in profile.models.by_kind().items()}


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
