"""The columns that a run leaves -> tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bros_sim.core.columns import TABLES, Column, logged
from bros_sim.engine.record import RunRecord


@dataclass(frozen=True)
class RunTables:
    """The tables of one run. ``requests`` is in order of arrival at the cluster."""

    requests: pd.DataFrame
    steps: pd.DataFrame
    spans: pd.DataFrame
    exceptions: pd.DataFrame
    engines: pd.DataFrame
    iteration_end_s: tuple[NDArray[np.float64], ...]
    """Per engine: when each of its iterations ended."""
    duration_s: float
    decisions: pd.DataFrame | None = None
    """The decision log, if one was asked for."""


def run_tables(record: RunRecord) -> RunTables:
    """The tables of a run that is over."""
    made: dict[str, Any] = {
        name: None if values is None else as_table(logged(columns), values)
        for name, columns in TABLES.items()
        for values in [getattr(record, name)]
    }
    return RunTables(**made, iteration_end_s=record.iteration_end_s, duration_s=record.duration_s)


def as_table(columns: Sequence[Column], values: Mapping[Any, Any]) -> pd.DataFrame:
    """A table with these columns, in their order and of their types."""
    return pd.DataFrame(
        {c.name: pd.Series(values[c.name]).astype(c.dtype) for c in columns}, copy=False
    )
