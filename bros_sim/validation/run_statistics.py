"""Recorded runs, and the statistics in which a replay is compared with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bros_sim.core.errors import InputError
from bros_sim.validation.real_run import EngineArguments, read_arguments, read_requests

Floats = NDArray[np.float64]
BLOCKS = 25
"""Parts of a run, in order of arrival, whose mean latencies are compared: means of a block are
smooth in the terms, where single requests jump from one iteration to the next."""
LEAST_REQUESTS = 4
"""Requests of a block at least."""
TAILS = (50, 90, 99)
TTFT_WEIGHT = 0.5
"""A TTFT is a few iterations and scatters more than a mean over all tokens of an answer."""


@dataclass(frozen=True)
class RecordedRun:
    """A run of a real server, as `bros-sim validate` reads it."""

    name: str
    requests: pd.DataFrame
    arguments: EngineArguments


def read_run(path: str | Path) -> RecordedRun:
    """A run: a folder with ``requests.csv`` (or ``.csv.gz``) and ``meta.json``.

    Raises:
        InputError: A file is missing or at fault.
    """
    folder = Path(path)
    found = [folder / name for name in ("requests.csv", "requests.csv.gz")]
    requests = next((file for file in found if file.is_file()), None)
    if requests is None:
        raise InputError(f"{folder}: should be a folder with requests.csv (or .csv.gz)")
    name = "/".join(folder.resolve().parts[-2:])
    return RecordedRun(name, read_requests(requests), read_arguments(folder / "meta.json"))


def targets(
    runs: Sequence[RecordedRun], ttft_weight: float
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Real statistics of all runs, the weight of each, and which belong together."""
    real, weights, groups = [], [], []
    for number, run in enumerate(runs):
        blocks = _blocks(len(run.requests))
        real.append(statistics(run.requests, run.requests, run.name))
        each = np.array([ttft_weight, 1.0, 1.0])
        tails = np.repeat(each, len(TAILS))
        weights.append(np.concatenate([np.repeat(each, blocks), tails]) / np.sqrt(blocks))
        own = [*range(blocks)] * 3 + [blocks + n for n in range(3) for _ in TAILS]
        groups.append(np.array(own) + number * (BLOCKS + 3))
    return np.concatenate(real), np.concatenate(weights), np.concatenate(groups)


def _blocks(requests: int) -> int:
    return max(1, min(BLOCKS, requests // LEAST_REQUESTS))


def statistics(times: pd.DataFrame, real: pd.DataFrame, name: str) -> Floats:
    """Logarithms of mean TTFT, TPOT and E2E by block, then of their quantiles.

    ``times`` are measured or simulated ones of the requests ``real``.
    """
    if times["last_token_s"].isna().any():
        raise InputError(f"{name}: requests never finish: the KV cache is too small")
    begin = "queued_s" if "queued_s" in real else "arrival_s"
    ttft = (times["first_token_s"] - times[begin]).to_numpy(float)
    gaps = real["output_tokens"].to_numpy(float) - 1
    spans = (times["last_token_s"] - times["first_token_s"]).to_numpy(float)
    tpot = np.divide(spans, gaps, out=np.full(len(gaps), np.nan), where=gaps > 0)
    latencies = (ttft, tpot, ttft + spans)
    parts = [_by_block(values) for values in latencies]
    for values in latencies:
        known = values[np.isfinite(values)]
        parts.append(np.percentile(known, TAILS) if known.size else np.full(len(TAILS), np.nan))
    found = np.concatenate(parts)
    return np.log(found, out=np.full(found.size, np.nan), where=found > 0)


def _by_block(values: Floats) -> Floats:
    parts = np.array_split(values, _blocks(len(values)))
    return np.array([np.nanmean(p) if np.isfinite(p).any() else np.nan for p in parts])
