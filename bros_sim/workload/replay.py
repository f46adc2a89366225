"""Arrivals that come from a trace (`Replay`) or from a twin of one (`TwinArrivals`)."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_doc import Doc
from annotated_types import Ge, Gt, Le

from bros_sim.core.errors import InputError
from bros_sim.workload.arrivals import OpenArrivals, Rate, Rows, Times
from bros_sim.workload.intensity import StepRate, check_count
from bros_sim.workload.modulated import Profiled
from bros_sim.workload.readers.base import Dequantise, Policy, ZeroTokens
from bros_sim.workload.traces import Trace, read_trace
from bros_sim.workload.twins import FromFile, NamedFile, Twin, load_twin

Scaling = Literal["warp", "thin"]
Tokens = Annotated[int, Ge(1), Le(10**9)]


@dataclass(frozen=True)
class Replay(FromFile, OpenArrivals):
    """The rows of a trace, at their own times.

    ``rate_scale`` changes the load in one of two ways, which differ in burstiness. ``warp`` plays
    the trace faster or slower: every gap is divided by it. ``thin`` keeps the time axis: each
    request is kept with probability ``rate_scale``, and for scales above 1 whole copies are laid
    over it, each rotated by a random time.
    """

    brings_lengths: ClassVar[bool] = True
    replays_rows: ClassVar[bool] = True

    path: Annotated[Path, Doc("a trace of any known format")]
    rate_scale: Annotated[float, Gt(0), Le(1e4), Doc("load relative to the trace")] = 1.0
    scaling: Annotated[Scaling, Doc("warp the time axis, or thin/superpose")] = "warp"
    start_s: Annotated[float, Ge(0), Doc("begin at this time of the trace")] = 0.0
    end_s: Annotated[float | None, Gt(0), Doc("stop at this time of the trace")] = None
    dequantise: Annotated[Dequantise, Doc("spread coarse time stamps over their tick")] = "none"
    zero_tokens: Annotated[
        ZeroTokens, Doc("raise a length of zero to one token, or drop the row")
    ] = "one"
    max_prompt: Annotated[Tokens | None, Doc("longer prompts are cut to this")] = None
    max_output: Annotated[Tokens | None, Doc("longer outputs are cut to this")] = None

    def __post_init__(self) -> None:
        if self.end_s is not None and self.end_s <= self.start_s:
            raise ValueError(f"end_s: must be later than start_s, {self.start_s:g} s")

    @property
    def file(self) -> Path:
        return self.path

    @cached_property
    def content(self) -> Trace:
        """The trace; an `InputError` if it cannot be read or has no arrivals."""
        end_s = np.inf if self.end_s is None else self.end_s
        lengths = (self.zero_tokens, self.max_prompt, self.max_output)
        trace = read_trace(self.path, Policy(self.start_s, end_s, self.dequantise, *lengths))
        if trace.arrival_s is None:
            raise InputError(f"{self.path}: has lengths but no arrival times; use it as lengths")
        return trace

    def times(self, duration_s: float, rng: np.random.Generator) -> Times:
        return self.rows(duration_s, rng)[0]

    def check(self, duration_s: float) -> None:
        check_count(len(self.content) * (self.rate_scale if self.scaling == "thin" else 1.0))

    def rows(self, duration_s: float, rng: np.random.Generator) -> tuple[Times, Rows]:
        """As `OpenArrivals.rows`; an `InputError` also if no request falls in the run."""
        self.check(duration_s)
        source = self.content.arrival_s
        assert source is not None
        if self.scaling == "warp":
            times, rows = source / self.rate_scale, np.arange(len(source))
        else:
            times, rows = _superposed(source, self.rate_scale, rng)
        inside = times < duration_s
        if not inside.any():
            what = f"no request falls in the run's {duration_s:g} s"
            raise InputError(f"{self.path}: {what}; {self._why_none(times)}")
        return times[inside], rows[inside]

    def _why_none(self, times: Times) -> str:
        scale = f"rate_scale {self.rate_scale:g}"
        if not len(times):
            return f"{scale} keeps none of the trace's {len(self.content):,}"
        first = f"the first is at {times[0]:g} s"
        return f"{first} (set start_s)" if self.rate_scale == 1 else f"at {scale} {first}"

    @property
    def last_s(self) -> float:
        """When the last row would arrive in a run without end."""
        assert self.content.arrival_s is not None
        last = float(self.content.arrival_s[-1])
        return last / self.rate_scale if self.scaling == "warp" else last


def _superposed(source: Times, scale: float, rng: np.random.Generator) -> tuple[Times, Rows]:
    """Whole copies and one thinned copy; the first copy is in place, the others are rotated."""
    span = source[-1] + (source[-1] / len(source) or 1.0)
    whole, part = int(scale), scale % 1
    times, rows = [], []
    for copy in range(whole + (part > 0)):
        kept = np.arange(len(source))
        if copy == whole:
            kept = np.flatnonzero(rng.random(len(source)) < part)
        shift = rng.random() * span if copy else 0.0
        times.append((source[kept] + shift) % span)
        rows.append(kept)
    merged, index = np.concatenate(times), np.concatenate(rows)
    order = np.argsort(merged, kind="stable")
    return merged[order], index[order]


@dataclass(frozen=True)
class TwinArrivals(NamedFile, Profiled):
    """Arrivals like those of a trace: the rate profile of its twin as a Poisson process.

    The profile starts with the run and repeats when it ends. With ``rate_rps`` it is scaled so
    that the expected mean over the run has that value; bursts scale with it.
    """

    brings_lengths: ClassVar[bool] = True

    path: Annotated[Path | None, Doc("a twin file of your own, instead of a name")] = None
    rate_rps: Annotated[Rate | None, Doc("mean rate over the run; else that of the trace")] = None

    @cached_property
    def content(self) -> Twin:
        """The twin; an `InputError` if the file cannot be read or is none."""
        return load_twin(self.file)

    def profile(self, duration_s: float) -> StepRate:
        """An `InputError` if the twin has lengths alone, or is silent over the whole run."""
        rate = self.content.rate
        if rate is None:
            what = f"the twin {self.content.name} has lengths but no arrivals"
            raise InputError(f"{self.file}: {what}; use it as lengths: {{kind: empirical}}")
        if self.rate_rps is None:
            return rate
        expected = float(rate.until(duration_s)[1][-1])
        if expected <= 0:
            what = f"the twin {self.content.name} is silent for the first {duration_s:g} s"
            raise InputError(f"{self.file}: {what}: make the run longer, or leave rate_rps out")
        return replace(rate, scale=self.rate_rps * duration_s / expected)
