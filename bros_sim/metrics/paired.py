"""Paired differences between systems: the same seeds mean the same arrivals, so chance cancels."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtr
from scipy.stats import wilcoxon

from bros_sim.metrics.capacity import AGREEING
from bros_sim.metrics.intervals import CONFIDENCE, half_width, shifted
from bros_sim.metrics.measures import Measure

HIGHER, LOWER, EQUAL, UNDECIDED, ONE_SEED = "higher", "lower", "equal", "undecided", "one seed"
LEAST_PAIRS = 6
"""With fewer pairs no outcome of a Wilcoxon test has a chance of 5 % or less."""
MEASURED = (
    "class", "metric", "baseline", "mean", "difference", "low", "high", "p_t", "p_wilcoxon",
    "seeds", "agreeing", "draws", "verdict", "why", "load",
)  # fmt: skip


def paired(
    table: pd.DataFrame, draws: pd.DataFrame, by: Sequence[str], baseline: str,
    measures: Sequence[Measure],
) -> pd.DataFrame:  # fmt: skip
    """How every other system differs from ``baseline``, point by point of the grid.

    ``table`` holds the nominal rows of summary.csv, ``draws`` those of the draws, if any; ``by``
    are the sweep paths. Measures that no point has are left out.

    Returns:
        ``system``, ``by`` and MEASURED, a row for each measure that some seed has under both.
        ``difference`` is the mean over seeds of system - baseline, ``low`` and ``high`` its 95 % t
        interval (NaN with one seed), ``p_t`` and ``p_wilcoxon`` the two-sided chances. ``agreeing``
        of the ``draws`` have a difference of the same sign. ``verdict`` is HIGHER or LOWER where
        the interval, the Wilcoxon test (from LEAST_PAIRS pairs) and the draws agree on it, EQUAL
        without any difference, else UNDECIDED with the reason in ``why``; ONE_SEED decides nothing.
        ``load`` holds the saturation verdicts of the baseline / of the system, if not all stable.
    """
    names = list(by)
    good, drawn = (t[t["error"] == ""] if len(t) else t for t in (table, draws))
    systems = [name for name in good["system"].unique() if name != baseline]
    rows = []
    for measure in measures:
        if measure.metric in good:
            tables = (_of_class(good, measure), _of_class(drawn, measure))
            for system in systems:
                rows += [[system, *row] for row in _system(*tables, names, baseline, system)]
    return pd.DataFrame(rows, columns=["system", *names, *MEASURED])


def _of_class(table: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    if table.empty:
        return table
    mine = table[table["class"] == measure.service_class]
    return mine.assign(metric=measure.metric, value=mine[measure.metric].astype(float))


def _system(
    table: pd.DataFrame, draws: pd.DataFrame, by: list[str], baseline: str, system: str
) -> Iterator[list[object]]:
    cell = [*by, "metric"]  # as `by` may be empty
    pairs, moved = _pairs(table, [*by, "seed"], baseline, system), pd.DataFrame()
    if not draws.empty:
        drawn = _pairs(draws, [*by, "seed", "draw"], baseline, system)
        moved = shifted(pairs, drawn, cell, "difference")
    for keys, group in pairs.groupby(cell, sort=False, dropna=False):
        here = moved
        for name, value in zip(by, keys, strict=False) if len(moved) else ():
            here = here[here[name] == value]
        drawn_here = here["difference"].to_numpy(np.float64) if len(here) else np.empty(0)
        yield [*keys[:-1], *_row(group, drawn_here)]


def _pairs(table: pd.DataFrame, keys: list[str], baseline: str, system: str) -> pd.DataFrame:
    """Both values side by side where both are known."""
    first, second = (table[table["system"] == name] for name in (baseline, system))
    kept = [*keys, "class", "metric", "value", "saturation"]
    both = first[kept].merge(second[[*keys, "value", "saturation"]], on=keys)
    both = both.dropna(subset=["value_x", "value_y"])
    return both.assign(difference=both["value_y"] - both["value_x"])


def _row(pairs: pd.DataFrame, drawn: NDArray[np.float64]) -> Iterator[object]:
    change = pairs["difference"].to_numpy(np.float64)
    mean, half = float(change.mean()), half_width(change) if change.size > 1 else np.nan
    p_t, p_wilcoxon = _chances(change)
    agreeing = int((np.sign(drawn) == np.sign(mean)).sum())
    yield from (pairs["class"].iloc[0], pairs["metric"].iloc[0])
    yield from (float(pairs["value_x"].mean()), float(pairs["value_y"].mean()))
    yield from (mean, mean - half, mean + half, p_t, p_wilcoxon, change.size, agreeing, drawn.size)
    yield from _verdict(change, half, p_wilcoxon, agreeing, drawn.size)
    sides = [", ".join(dict.fromkeys(pairs[name])) for name in ("saturation_x", "saturation_y")]
    yield "" if sides == ["stable", "stable"] else " / ".join(sides)


def _chances(change: NDArray[np.float64]) -> tuple[float, float]:
    """Of a mean, and of signs and ranks, as far from 0 as these if there were no difference."""
    if change.size < 2:
        return np.nan, np.nan
    if not change.any():
        return 1.0, 1.0
    error = float(change.std(ddof=1)) / np.sqrt(change.size)
    t = abs(float(change.mean())) / error if error else np.inf
    return 2 * float(stdtr(change.size - 1, -t)), float(wilcoxon(change).pvalue)


def _verdict(
    change: NDArray[np.float64], half: float, p_wilcoxon: float, agreeing: int, draws: int
) -> tuple[str, str]:
    mean = float(change.mean())
    if change.size < 2:
        return ONE_SEED, ""
    if not change.any() and agreeing == draws:
        return EQUAL, ""
    if abs(mean) <= half:
        return UNDECIDED, "the interval holds 0"
    if change.size >= LEAST_PAIRS and p_wilcoxon > 1 - CONFIDENCE:
        return UNDECIDED, "the Wilcoxon test does not see it"
    if agreeing < AGREEING * draws:
        return UNDECIDED, f"only {agreeing} of {draws} draws have this sign"
    return (HIGHER if mean > 0 else LOWER), ""


COLUMNS = ("request_id", "class", "arrival_s", "status", "ttft_s", "e2e_s", "slo_met")
"""The columns of requests.parquet that this needs."""
SIDES = ("_baseline", "_system")
SLO = {(True, True): "both", (True, False): "only_baseline", (False, True): "only_system"}


def same_requests(baseline: pd.DataFrame, system: pd.DataFrame) -> pd.DataFrame:
    """The requests that both runs have, side by side, from `COLUMNS` of their requests.parquet.

    Of closed-loop clients the same id at another time is another request, and is left out. Columns
    beside id, class and arrival come with each of `SIDES`; ``e2e_change_s`` needs both completed.
    """
    keys = ["request_id", "class", "arrival_s"]
    both = baseline[list(COLUMNS)].merge(system[list(COLUMNS)], on=keys, suffixes=SIDES)
    return both.assign(e2e_change_s=both["e2e_s_system"] - both["e2e_s_baseline"])


def slo_turns(both: pd.DataFrame) -> dict[str, int]:
    """How many requests with an SLO met it under ``both``, ``only_`` one, or ``neither``."""
    judged = both[both["slo_met_baseline"].notna() & both["slo_met_system"].notna()]
    met = [judged[f"slo_met{side}"].astype(bool).to_numpy() for side in SIDES]
    counts = {
        name: int(((met[0] == one) & (met[1] == other)).sum()) for (one, other), name in SLO.items()
    }
    return {**counts, "neither": len(judged) - sum(counts.values())}


def changed_most(both: pd.DataFrame, count: int) -> pd.DataFrame:
    """The ``count`` rows of `same_requests` that changed most; those that did not at all are out.

    First those that completed under one system only, then by change of the last token; ties by id.
    """
    ended = (both["status_baseline"] == "completed") != (both["status_system"] == "completed")
    change = both["e2e_change_s"].abs().fillna(0.0)
    ranked = both.assign(_ended=ended, _change=change)
    ranked = ranked[ended | (change > 0)]
    keys = ["_ended", "_change", "request_id"]
    ranked = ranked.sort_values(keys, ascending=[False, False, True], kind="stable")
    return ranked.head(count).drop(columns=keys[:2])
