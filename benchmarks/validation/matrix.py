"""All recorded runs of real servers: errors before any fit, left out of the fit, and as shipped."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.validation.tables import table
from bros_sim.calibration.profiles import ENGINE_OVERHEAD
from bros_sim.latency.parameters import Layers
from bros_sim.latency.term_parameters import FREE, KERNELS_ALONE
from bros_sim.profiles.profile import Profile
from bros_sim.validation.compare import METRICS, Comparison, compare
from bros_sim.validation.fit_runs import fit_runs
from bros_sim.validation.real_run import INTENDED
from bros_sim.validation.replay import replay
from bros_sim.validation.run_statistics import RecordedRun, read_run
from bros_sim.validation.terms import DEFAULT_TERMS, TERMS

STAGES = ("before", "left_out", "shipped")
WAITS_MS = 1000.0
"""Mean TTFT of a real run from which requests are taken to wait in a queue."""


class Kind(NamedTuple):
    """Runs of one model on one kind of GPU."""

    profile: str
    ttft: bool = True
    """Whether a fit may use TTFT; not where caches were warm in an unknown way."""


KINDS: Mapping[str, Kind] = {
    "rtxpro6000_llama-3.1-8b_tp1": Kind("rtxpro6000/llama-3.1-8b-tp1"),
    "rtx4090_llama-3.1-8b_tp1": Kind("rtx4090/llama-3.1-8b-tp1"),
    "rtxpro6000_qwen3-32b_tp2": Kind("rtxpro6000/qwen3-32b-tp2"),
    "h100_qwen3-14b_tp1": Kind("h100-80gb/qwen3-14b-tp1"),
    "llmd_llama-3.1-70b_tp2/a100": Kind("a100-80gb/llama-3.1-70b-tp2", ttft=False),
    "llmd_llama-3.1-70b_tp2/h100": Kind("h100-80gb/llama-3.1-70b-tp2", ttft=False),
}
"""What replays a run, by how its folder's path begins."""


@dataclass(frozen=True)
class Row:
    """A run and its replays, by stage; a stage without a replay is not there."""

    run: RecordedRun
    kind: Kind
    found: Mapping[str, Comparison]

    @property
    def place(self) -> str:
        """GPU and model, as the profile calls them."""
        return self.kind.profile

    @property
    def load(self) -> str:
        """Requests per second as intended, and what else made the load."""
        table, rate = self.run.requests, rate_rps(self.run)
        text = f"{rate:.3g}/s" if math.isfinite(rate) else "at once"
        prompt, output = (table[name].mean() for name in ("prompt_tokens", "output_tokens"))
        text += f" of {prompt:,.0f} + {output:,.0f} tokens"
        if (replicas := self.run.arguments.get("replicas", 1)) > 1:
            text += f" over {replicas} replicas"
        if self.capped:
            text += f", {self.run.arguments.get('max_concurrency', '?')} in flight at most"
        return text

    @property
    def capped(self) -> bool:
        """Whether the client waited with requests that were due."""
        table = self.run.requests
        return INTENDED in table and bool((table["arrival_s"] > table[INTENDED] + 1.0).any())

    @property
    def waits(self) -> bool:
        """Whether the real server, or its client, let requests queue."""
        start = "queued_s" if "queued_s" in self.run.requests else "arrival_s"
        ttft_s = self.run.requests["first_token_s"] - self.run.requests[start]
        return self.capped or bool(1e3 * ttft_s.mean() > WAITS_MS)

    @property
    def best(self) -> str | None:
        """The stage that says most of what is to be expected of a run that nobody has seen."""
        return next((s for s in ("left_out", "shipped") if s in self.found), None)


def rate_rps(run: RecordedRun) -> float:
    """Requests per second, as the client intended."""
    due = run.requests[INTENDED if INTENDED in run.requests else "arrival_s"]
    span = float(due.max() - due.min())
    return (len(due) - 1) / span if span > 0 else math.inf


def real_runs(folder: Path) -> list[tuple[RecordedRun, Kind]]:
    """The runs below a folder whose kind is known, by kind and then by load."""
    places = sorted(path.parent for path in folder.rglob("meta.json"))
    found = []
    for place in places:
        name = place.relative_to(folder).as_posix()
        kinds = (kind for start, kind in KINDS.items() if name.startswith(start))
        if (kind := next(kinds, None)) is not None:
            found.append((read_run(place), kind))
    return sorted(found, key=lambda pair: (pair[1].profile, rate_rps(pair[0])))


def matrix(
    runs: Iterable[tuple[RecordedRun, Kind]], profiles: Mapping[str, Profile], workers: int = 1
) -> Iterator[Row]:
    """One row for each run; without any replay where its profile is not in ``profiles``."""
    for kind, group in groupby(runs, key=lambda pair: pair[1]):
        members = [run for run, _ in group]
        for run in members:
            profile = profiles.get(kind.profile)
            others = [other for other in members if other is not run]
            found = {} if profile is None else _stages(run, others, profile, kind, workers)
            yield Row(run, kind, found)


def _stages(
    run: RecordedRun, others: Sequence[RecordedRun], profile: Profile, kind: Kind, workers: int
) -> dict[str, Comparison]:
    bare = before_any_fit(profile)
    found = {"before": compared(run, bare), "shipped": compared(run, profile)}
    if others:
        fit = fit_runs(others, bare, fitted(profile), [run], ttft=kind.ttft, workers=workers)
        found["left_out"] = fit.after[run.name]
    return found


def compared(run: RecordedRun, profile: Profile) -> Comparison:
    """The run's replay against it."""
    return compare(run.requests, replay(run.requests, run.arguments, profile))


def fitted(profile: Profile) -> tuple[str, ...]:
    """The terms of a profile that were fitted to runs; those that `fit-runs` fits if none were."""
    stated = profile.engine.terms if profile.engine else {}
    names = [name for name in TERMS if name in stated and stated[name].standard_error is not None]
    return tuple(names) or DEFAULT_TERMS


def before_any_fit(profile: Profile) -> Profile:
    """The profile without all that runs of its own told: kernels or layers, and no front end.

    The host gap of kernel-calibrated profiles is the one that `profile derive` gives any profile.
    """
    kind = profile.default_model
    model = profile.models.by_kind()[kind]
    layers = isinstance(model, Layers)
    gap = {"overhead": FREE, "eager": FREE} if layers else {"overhead": ENGINE_OVERHEAD}
    neutral = replace(model, engine=KERNELS_ALONE, **gap)  # type: ignore[call-arg]
    models = replace(profile.models, **{kind: neutral})  # type: ignore[arg-type]
    return replace(profile, models=models, engine=None)


HEAD = (
    *("GPU and model", "vLLM", "load"),
    *(f"{name.upper()} {statistic}" for name in METRICS for statistic in ("mean", "p99")),
    "throughput",
)


def matrix_table(rows: Sequence[Row]) -> str:
    """Every run with its errors in percent: before any fit / left out / as shipped."""
    return table(HEAD, map(_line, rows))


def _line(row: Row) -> list[str]:
    about = [row.place, row.run.arguments.vllm_version or "?", row.load]
    if not row.found:
        return [*about, "its profile is not shipped", *[""] * (len(HEAD) - 4)]
    each = [errors(row.found[stage]) if stage in row.found else None for stage in STAGES]
    cells = zip(*(e or [None] * (len(HEAD) - 3) for e in each), strict=True)
    return [*about, *(" / ".join(_signed(value) for value in cell) for cell in cells)]


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1f}"


def errors(comparison: Comparison) -> list[float]:
    """Percent: mean and p99 of TTFT, TPOT and E2E, then output tokens per second of the run."""
    found = [comparison.metrics[m][s]["error_pct"] for m in METRICS for s in ("mean", "p99")]
    return [*found, 100 * (comparison.real_s / comparison.simulated_s - 1)]


def aims(rows: Sequence[Row]) -> str:
    """Left out of the fit: what the mean and the worst run miss, and what is aimed at."""
    lines = []
    for waits, label in ((False, "no queue"), (True, "requests queue")):
        judged = [row for row in rows if row.waits == waits and "left_out" in row.found]
        if judged:
            sizes = np.abs([_judged(row) for row in judged])
            means = [f"{value:.1f} ({worst:.1f})" for value, worst in _mean_worst(sizes)]
            lines.append([label, str(len(judged)), *means])
    return table(("runs left out", "number", *HEAD[3:]), lines)


def _judged(row: Row) -> list[float]:
    """The errors of a run left out, without TTFT where it tells of warm caches alone."""
    found = errors(row.found["left_out"])
    return found if row.kind.ttft or row.waits else [math.nan, math.nan, *found[2:]]


def _mean_worst(sizes: np.ndarray) -> list[tuple[float, float]]:
    return list(
        zip(np.nanmean(sizes, axis=0).tolist(), np.nanmax(sizes, axis=0).tolist(), strict=True)
    )
