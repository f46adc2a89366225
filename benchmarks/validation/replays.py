"""Replays of the real run: with every term, without one, with one moved, and of its halves."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from bros_sim.latency.parameters import Layers
from bros_sim.latency.term_parameters import PerSequence, TokenCurve
from bros_sim.profiles.profile import Profile
from bros_sim.validation.compare import METRICS, Comparison, compare
from bros_sim.validation.real_run import EngineArguments
from bros_sim.validation.replay import replay

BOUNDS = {"ttft": (3.0, 5.0), "tpot": (1.5, 1.5), "e2e": (1.5, 1.5)}
"""Percent that the mean and each percentile may be off."""


@dataclass(frozen=True)
class Run:
    """The real run and the profile that predicts it."""

    requests: pd.DataFrame
    arguments: EngineArguments
    profile: Profile

    def predicted(self, profile: Profile | None = None, **arguments: object) -> pd.DataFrame:
        """The replay, with another profile or other arguments if given."""
        values = {**self.arguments.values, **arguments}
        stated = replace(self.arguments, values=values)
        return replay(self.requests, stated, profile or self.profile)

    def compared(self, profile: Profile | None = None, **arguments: object) -> Comparison:
        """The replay against the run."""
        return compare(self.requests, self.predicted(profile, **arguments))


def within(comparison: Comparison) -> bool:
    """Whether every figure is inside its bound."""
    return all(
        abs(found["error_pct"]) <= BOUNDS[name][statistic != "mean"]
        for name, statistics in comparison.metrics.items()
        for statistic, found in statistics.items()
    )


def variants(run: Run) -> Iterator[tuple[str, Comparison]]:
    """Each term left out, then each moved by its uncertainty."""
    yield "all terms", run.compared()
    yield "without asynchronous scheduling", run.compared(async_scheduling=False)
    for name, change in (*_WITHOUT.items(), *_MOVED.items()):
        yield name, run.compared(_with(run.profile, change))


def halves(run: Run) -> Iterator[tuple[str, Comparison]]:
    """One replay of the whole run, judged on the requests of each half."""
    simulated = run.predicted()
    middle = len(run.requests) // 2
    for name, part in (("first half", slice(0, middle)), ("second half", slice(middle, None))):
        rows = [t.iloc[part].reset_index(drop=True) for t in (run.requests, simulated)]
        yield f"requests of the {name}", compare(*rows)


def _with(profile: Profile, change: Callable[[Layers], Layers]) -> Profile:
    layers = profile.models.layers
    assert layers is not None
    return replace(profile, models=replace(profile.models, layers=change(layers)))


def _gap(ms: float, layers: Layers) -> Layers:
    return replace(layers, overhead=PerSequence(ms))


def _eager(const_ms: float, per_token_ms: float, layers: Layers) -> Layers:
    return replace(layers, eager=PerSequence(const_ms, per_token_ms))


def _share(added: float, layers: Layers) -> Layers:
    tail = layers.tail
    moved = {
        name: tuple(min(1.0, max(0.0, v + added)) for v in getattr(tail, name))
        for name in ("share", "mixed_share")
    }
    return replace(layers, tail=replace(tail, **moved))


def _no_tail(layers: Layers) -> Layers:
    return replace(layers, tail=replace(layers.tail, lone_ms_per_token=0.0))


def _no_padding(layers: Layers) -> Layers:
    every = tuple(range(1, layers.graph_sizes[-1] + 1))
    return replace(layers, graph_sizes=every, tile_tokens=1)


def _one_kernel(layers: Layers) -> Layers:
    """Decodes beside a chunk as fast as decodes alone."""
    return replace(layers, mixed=layers.decode)


def _gemm(added_ms: float, layers: Layers) -> Layers:
    """Move the dense layers in graphs of 72 to 128 tokens."""
    curve = layers.tokens
    times = tuple(
        round(ms + added_ms, 4) if 72 <= n <= 128 else ms
        for n, ms in zip(curve.n, curve.ms, strict=True)
    )
    return replace(layers, tokens=TokenCurve(curve.n, times))


_WITHOUT: dict[str, Callable[[Layers], Layers]] = {
    "without step_gap_ms": partial(_gap, 0.0),
    "without eager_ms and eager_ms_per_token": partial(_eager, 0.0, 0.0),
    "without graph_gemm_ms": partial(_gemm, 0.83),
    "without the tail of unequal lengths": _no_tail,
    "without graph padding and tiles": _no_padding,
    "with decodes as fast beside a chunk as alone": _one_kernel,
}
_MOVED: dict[str, Callable[[Layers], Layers]] = {
    "step_gap_ms 0.4": partial(_gap, 0.4),
    "step_gap_ms 0.6": partial(_gap, 0.6),
    "eager terms of the first half (1.2, 0.0033)": partial(_eager, 1.2, 0.0033),
    "eager terms of the second half (0.7, 0.0017)": partial(_eager, 0.7, 0.0017),
    "graph_gemm_ms -0.63": partial(_gemm, 0.2),
    "graph_gemm_ms -1.03": partial(_gemm, -0.2),
    "share of the tail + 0.03": partial(_share, 0.03),
    "share of the tail - 0.03": partial(_share, -0.03),
}


def worst(comparison: Comparison, name: str) -> tuple[float, float]:
    """Error of the mean, and the largest one of the percentiles, in percent."""
    errors = {key: found["error_pct"] for key, found in comparison.metrics[name].items()}
    mean = errors.pop("mean")
    return mean, max(errors.values(), key=abs)


def row(label: str, comparison: Comparison) -> list[str]:
    """A line of the tables of variants."""
    numbers = np.ravel([worst(comparison, name) for name in METRICS])
    return [label, *(f"{value:+.1f}" for value in numbers), "yes" if within(comparison) else "no"]
