"""Result folders -> tables, and systems compared on the same seeds: ratios and differences."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bros_sim.metrics.intervals import half_width
from bros_sim.study.store import open_results

Row = Sequence[str]
"""A row of a Markdown table."""
RATE = "workload.chat.arrivals.rate_rps"


def read(folder: Path) -> pd.DataFrame:
    """One row per point and class; ``rate`` is the RT load.

    Raises:
        InputError: It is not the folder of a finished run.
        SystemExit: Points of it failed.
    """
    table = open_results(folder)[0].table()
    if (table["error"] != "").any():
        raise SystemExit(f"{folder}: points failed: {table['error'].max()}")
    return table.rename(columns={RATE: "rate"})


def where(table: pd.DataFrame, **labels: object) -> pd.DataFrame:
    """Rows with these labels."""
    for name, value in labels.items():
        table = table[table[name] == value]
    return table


def values(table: pd.DataFrame, metric: str, **labels: object) -> pd.Series:
    """A metric by seed."""
    return where(table, **labels).set_index("seed")[metric].astype(float).sort_index()


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval; no interval (NaN) where there is none."""

    mean: float
    low: float = np.nan
    high: float = np.nan

    @property
    def half(self) -> float:
        """Half of the interval."""
        return (self.high - self.low) / 2


def mean(sample: pd.Series) -> Estimate:
    """Mean over seeds and its t interval."""
    known = sample.dropna().to_numpy()
    if known.size < 2:
        return Estimate(float(known.mean()) if known.size else np.nan)
    half = half_width(known)
    return Estimate(float(known.mean()), float(known.mean() - half), float(known.mean() + half))


def ratio(ours: pd.Series, theirs: pd.Series) -> Estimate:
    """Geometric mean of ours / theirs by seed, t interval of the logarithm.

    NaN unless both are positive with every seed: a ratio to nothing says nothing.
    """
    both = pd.concat([ours, theirs], axis=1, join="inner")
    if both.empty or not (both > 0).all(axis=None):
        return Estimate(np.nan)
    logs = mean(np.log(both.iloc[:, 0] / both.iloc[:, 1]))
    return Estimate(*np.exp([logs.mean, logs.low, logs.high]).tolist())


def difference(ours: pd.Series, theirs: pd.Series) -> Estimate:
    """Mean of ours - theirs by seed and its t interval; seeds in which one has no value are out."""
    return mean(ours - theirs)


def verdicts(table: pd.DataFrame) -> str:
    """Saturation over seeds: one word if they agree, else each with its count."""
    counts = table["saturation"].value_counts()
    if len(counts) == 1:
        return str(counts.index[0])
    return ", ".join(f"{name} {n}" for name, n in sorted(counts.items()))


def markdown(head: Row, rows: Iterable[Row]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
