"""Reported figures of other sites and engine versions, replayed: how wide the errors spread."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks.validation.pairs import profile_of
from benchmarks.validation.tables import table
from bros_sim.core.errors import InputError
from bros_sim.validation.real_run import EngineArguments
from bros_sim.validation.replay import replay


class Reported(NamedTuple):
    """A figure that a source reports, and the same figure of a replay."""

    kind: str
    """``TTFT``, ``TPOT`` (mean ITL included) or ``makespan`` (and throughput's inverse)."""
    real: float
    of: Callable[[pd.DataFrame], float]


@dataclass(frozen=True)
class Load:
    """What a row of a summary describes: server, requests, and what was measured of them."""

    gpu: str
    model: str
    tp: int
    version: str
    requests: pd.DataFrame
    reported: tuple[Reported, ...]
    values: Mapping[str, Any] = field(default_factory=dict)
    judged: tuple[int, int | None] = (0, None)
    """From and to which row of ``requests`` the figures are about."""


class Error(NamedTuple):
    """A replayed figure against the reported one."""

    source: str
    gpu: str
    version: str
    kind: str
    error_pct: float


def spread(sources: Mapping[str, Iterable[Load]], tables: Path) -> tuple[list[Error], list[str]]:
    """Every error, and a line for each load that could not be replayed."""
    errors, skipped = [], []
    for source, loads in sources.items():
        for load in loads:
            profile = profile_of(load.gpu, load.model, load.tp, tables)
            where = f"{source}: {load.gpu}/{load.model}-tp{load.tp}"
            if profile is None:
                skipped.append(f"{where}: nothing is known of this GPU")
                continue
            arguments = EngineArguments(Path(source), load.version, dict(load.values))
            try:
                played = _measured(load, replay(load.requests, arguments, profile))
            except InputError as error:
                skipped.append(f"{where}: {error}")
                continue
            errors += [
                Error(
                    source,
                    load.gpu,
                    load.version,
                    figure.kind,
                    100 * (figure.of(played) / figure.real - 1),
                )
                for figure in load.reported
            ]
    return errors, list(dict.fromkeys(skipped))


def _measured(load: Load, times: pd.DataFrame) -> pd.DataFrame:
    """The judged requests: times in seconds from when the client sent them, and TPOT."""
    tokens = load.requests["output_tokens"].to_numpy(float)
    found = times.assign(
        output_tokens=tokens,
        ttft_s=times["first_token_s"] - times["arrival_s"],
        decode_s=times["last_token_s"] - times["first_token_s"],
        e2e_s=times["last_token_s"] - times["arrival_s"],
    )
    found["tpot_s"] = found["decode_s"] / np.where(tokens > 1, tokens - 1, np.nan)
    return found.iloc[slice(*load.judged)]


def mean(column: str) -> Callable[[pd.DataFrame], float]:
    """The mean of a column, in milliseconds."""
    return lambda played: float(1e3 * played[column].mean())


def percentile(column: str, percent: float) -> Callable[[pd.DataFrame], float]:
    """A percentile of a column, in milliseconds."""
    return lambda played: float(1e3 * np.nanpercentile(played[column], percent))


def makespan(played: pd.DataFrame) -> float:
    """Seconds from the first arrival to the last token."""
    return float(played["last_token_s"].max() - played["arrival_s"].min())


def mean_itl(played: pd.DataFrame) -> float:
    """Milliseconds between tokens, every gap counted once."""
    return float(1e3 * played["decode_s"].sum() / (played["output_tokens"] - 1).sum())


QUANTILES = (5, 25, 50, 75, 95)
HEAD = ("source", "GPU", "vLLM", "figure", "number", *(f"{q} %" for q in QUANTILES), "mean size")


def spread_table(errors: list[Error]) -> str:
    """Quantiles of the signed errors in percent, by source and engine, then over all."""
    frame = pd.DataFrame(errors)
    lines = [
        [*map(str, key), *_quantiles(part)]
        for key, part in frame.groupby(["source", "gpu", "version", "kind"], sort=False)
    ]
    for kind, part in frame.groupby("kind"):
        lines.append(["all", "", "", str(kind), *_quantiles(part)])
    lines.append(["all", "", "", "all", *_quantiles(frame)])
    return table(HEAD, lines)


def _quantiles(part: pd.DataFrame) -> Iterator[str]:
    errors = part["error_pct"].to_numpy(float)
    yield str(len(errors))
    yield from (f"{value:+.0f}" for value in np.percentile(errors, QUANTILES))
    yield f"{np.abs(errors).mean():.0f}"
