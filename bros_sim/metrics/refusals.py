"""Why requests were rejected."""

import pandas as pd

from bros_sim.metrics.saturation import WarmUp, left_out
from bros_sim.metrics.tables import RunTables


def refusals(tables: RunTables, requests: pd.DataFrame, *, warmup_s: WarmUp) -> dict[str, int]:
    """Value of `Refusal` -> how many requests of the window (as in `summarise`) it rejected."""
    reasons = tables.requests["refusal"]
    if not (reasons != "").any():
        return {}
    start_s, _ = left_out(warmup_s, requests, tables.duration_s)
    found = reasons[(reasons != "") & (requests["arrival_s"] >= start_s)]
    return {str(reason): int(count) for reason, count in found.value_counts().sort_index().items()}
