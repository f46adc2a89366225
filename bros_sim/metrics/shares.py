"""Shares of requests and of tokens that met their SLO; NaN where no request has one."""

from typing import Literal

import numpy as np

from bros_sim.metrics.latencies import Measured
from bros_sim.metrics.requests import has_slo, slo_met, slo_met_in
from bros_sim.metrics.sample import Sample


def slo_attainment(sample: Sample) -> float:
    """Requests that met every SLO / those that have one."""
    return _share(slo_met(sample.judged).sum(), int(sample.in_judged.sum()))


def attainment(dimension: Literal["ttft", "tpot", "e2e"]) -> Measured[float]:
    """Requests that met the SLO of a dimension / those that have any."""

    def measure(sample: Sample) -> float:
        table = sample.judged
        owing = int(sample.in_judged.sum()) if has_slo(table, dimension).any() else 0
        return _share(slo_met_in(table, dimension).sum(), owing)

    return measure


def tokens_by_deadline(sample: Sample) -> float:
    """Tokens on time / tokens owed, of requests with a TTFT SLO."""
    has_ttft = has_slo(sample.judged, "ttft")
    on_time = sample.judged["tokens_on_time"]
    return _share(on_time[has_ttft].sum(), sample.owed[has_ttft].sum())


def gaps_within(sample: Sample) -> float:
    """Gaps within the SLO / gaps owed, of requests with a TPOT SLO."""
    has_tpot = has_slo(sample.judged, "tpot")
    on_time, owed = sample.run.gaps_on_time[sample.in_judged], np.maximum(sample.owed - 1, 0)
    return _share(on_time[has_tpot].sum(), owed[has_tpot].sum())


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else np.nan
