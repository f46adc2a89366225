"""What the metrics of a summary are computed from: a run, and its requests of one class."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar, cast

import numpy as np
import pandas as pd

from bros_sim.metrics.requests import Columns, binding_slo_s, completed, floats, has_slo
from bros_sim.metrics.saturation import Verdict, WarmUp, backlog_verdict, left_out
from bros_sim.metrics.tables import RunTables
from bros_sim.metrics.tokens import Bools, Ints, gaps_on_time, token_rows
from bros_sim.metrics.usage import kv_usage

T = TypeVar("T")


class Run:
    """What the summaries of all classes are taken from; arrays have one element per request."""

    def __init__(self, tables: RunTables, requests: pd.DataFrame, wanted: WarmUp) -> None:
        rows, size = token_rows(tables), len(requests)
        self.tables, self.requests, self.rows = tables, _columns(requests), rows
        self.classes = requests["class"].to_numpy()
        self.warmup_s, self.settled = left_out(wanted, requests, tables.duration_s)
        steady = rows.count_until(tables.duration_s)
        steady -= rows.count_until(np.nextafter(self.warmup_s, -np.inf))
        self.generated = rows.sum_by_request(rows.tokens, size)
        self.generated_steady = rows.sum_by_request(np.maximum(steady, 0), size)
        self.gaps_on_time = gaps_on_time(rows, binding_slo_s(self.requests, "tpot"))
        self.usage = kv_usage(tables, self.warmup_s)
        first_arrival = floats(self.requests, "arrival_s").min() if size else np.nan
        last_token = rows.end_s[rows.first + rows.tokens - 1].max() if rows.first.size else np.nan
        self.makespan_s = float(last_token - first_arrival)
        ends_s = (float(ends[-1]) for ends in tables.iteration_end_s if ends.size)
        self.end_s = max([tables.duration_s, *ends_s])


def _columns(requests: pd.DataFrame) -> Columns:
    """What the metrics look at; whether an SLO was met is False where there is none."""
    skipped = {"request_id", "stream", "class", "status", "slo_met"}
    arrays = {str(n): requests[n].to_numpy() for n in requests if n not in skipped}
    met = requests["slo_met"].to_numpy(np.bool_, na_value=False)
    return Columns(arrays | {"status": requests["status"].to_numpy(np.str_), "slo_met": met})


class Sample:
    """The requests of one class (``rt``, ``be`` or ``all``)."""

    def __init__(self, run: Run, name: str) -> None:
        self.run, self.name = run, name
        self._known: dict[object, Any] = {}
        self.members: Bools = np.asarray((run.classes == name) | (name == "all"), np.bool_)

    def once(self, compute: Callable[["Sample"], T]) -> T:
        """What this computes of the sample; metrics that share it compute it once."""
        if compute not in self._known:
            self._known[compute] = compute(self)
        return cast(T, self._known[compute])

    @cached_property
    def everyone(self) -> Columns:
        """All requests of the class."""
        return self.run.requests.where(self.members)

    @cached_property
    def in_window(self) -> Bools:
        """Which requests of the run are in the window."""
        return self.members & (floats(self.run.requests, "arrival_s") >= self.run.warmup_s)

    @cached_property
    def window(self) -> Columns:
        """Requests that arrived at or after the warm-up."""
        return self.run.requests.where(self.in_window)

    @cached_property
    def in_judged(self) -> Bools:
        """Which requests of the run are judged."""
        return self.in_window & has_slo(self.run.requests)

    @cached_property
    def judged(self) -> Columns:
        """Requests of the window with an SLO."""
        return self.run.requests.where(self.in_judged)

    @cached_property
    def owed(self) -> Ints:
        """Tokens that each of ``judged`` is to get."""
        generated, done = self.run.generated[self.in_judged], completed(self.judged)
        return np.where(done, generated, self.judged["output_tokens"])

    @cached_property
    def backlog(self) -> tuple[Verdict, float]:
        """Saturation verdict and slope of the backlog; a run that never settled is not stable."""
        steady = (self.run.warmup_s, self.run.tables.duration_s)
        verdict, slope = backlog_verdict(self.run.requests, self.members, steady)
        return ("too short" if verdict == "stable" and not self.run.settled else verdict), slope
