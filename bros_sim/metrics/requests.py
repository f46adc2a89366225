"""The request table: one row per arrived request, with the client's view of its latency."""

from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bros_sim.core.columns import REQUESTS, stored
from bros_sim.metrics.gaps import longest_gaps
from bros_sim.metrics.tables import RunTables
from bros_sim.metrics.tokens import Bools, Floats, token_rows, tokens_on_time

Dimension = Literal["ttft", "tpot", "e2e"]
SLO_DIMENSIONS: tuple[Dimension, ...] = ("ttft", "tpot", "e2e")
"""Dimension d of an SLO: ``d_s`` was measured, ``d_slo_s`` is the objective."""


class Columns(dict[str, NDArray[Any]]):
    """Columns of a table as arrays: selecting rows of them costs a tenth of what pandas takes."""

    def where(self, rows: Bools) -> "Columns":
        """The same columns for some of the rows."""
        return Columns({name: array[rows] for name, array in self.items()})


Table = pd.DataFrame | Columns


def floats(table: Table, column: str) -> Floats:
    """A column as floats, missing = NaN."""
    return np.asarray(table[column], dtype=np.float64)


def completed(table: Table) -> Bools:
    """Which requests got all their tokens."""
    return np.asarray(table["status"] == "completed", dtype=np.bool_)


def binding_slo_s(log: Table, dimension: Dimension) -> Floats:
    """The SLO of a dimension; infinity without one."""
    return np.nan_to_num(floats(log, f"{dimension}_slo_s"), nan=np.inf, posinf=np.inf)


def request_metrics(tables: RunTables) -> pd.DataFrame:
    """One row per arrived request: the columns of requests.parquet, in their order.

    Seconds throughout, NaN where there is nothing to measure. ``ttft_s`` needs a first token and
    ``max_itl_s`` two, whatever became of the request; ``tpot_s`` and ``e2e_s`` need the last one,
    so only completed requests have them. ``slo_met`` is missing for a request without SLO.
    """
    log, rows = tables.requests, token_rows(tables)
    arrival, done = floats(log, "arrival_s"), completed(log)
    first, last = floats(log, "first_token_s"), floats(log, "last_token_s")
    gaps = log["generated_tokens"].to_numpy(np.int64) - 1
    due = arrival + binding_slo_s(log, "ttft")
    table = log.assign(
        ttft_s=first - arrival,
        tpot_s=np.where(done & (gaps > 0), (last - first) / np.maximum(gaps, 1), np.nan),
        max_itl_s=longest_gaps(rows, len(log)),
        e2e_s=np.where(done, last - arrival, np.nan),
        tokens_on_time=tokens_on_time(rows, due, binding_slo_s(log, "tpot")),
    )
    met = pd.array(slo_met(table), dtype="boolean")
    met[~has_slo(table)] = pd.NA
    return table.assign(slo_met=met)[list(stored(REQUESTS))]


def has_slo(table: Table, *dimensions: Dimension) -> Bools:
    """Which requests have an objective in any of the dimensions; default: in any at all."""
    slos = [floats(table, f"{name}_slo_s") for name in dimensions or SLO_DIMENSIONS]
    found: Bools = ~np.all(np.isnan(slos), axis=0)
    return found


def slo_met(table: Table, *dimensions: Dimension) -> Bools:
    """Completed within all of these SLOs; without SLO, or TPOT for n = 1, it is met."""
    met = completed(table)
    for name in dimensions or SLO_DIMENSIONS:
        met = met & ~(floats(table, f"{name}_s") > floats(table, f"{name}_slo_s"))
    return met
