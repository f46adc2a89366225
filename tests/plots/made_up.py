"""Made-up results that look like those of a real sweep: queues, preemptions, three systems."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from bros_sim import metrics
from bros_sim.core.columns import REQUESTS, SPANS, STEPS, logged, names
from bros_sim.engine.record import RunLog
from bros_sim.metrics.tables import RunTables, run_tables

RATE = "workload.chat.arrivals.rate_rps"
SLO = "workload.chat.slo.ttft_s"
CAPACITY = {"vLLM": 5.0, "vLLM priority": 6.5, "BROS": 9.0}
DURATION_S = 60.0


@dataclass(frozen=True)
class Point:
    labels: Mapping[str, object]
    tables: RunTables
    error: str = ""

    def requests(self) -> pd.DataFrame:
        return metrics.request_metrics(self.tables)

    def steps(self) -> pd.DataFrame:
        return self.tables.steps


@dataclass
class Experiment:
    points: Sequence[Point]
    drawn: pd.DataFrame = field(default_factory=pd.DataFrame)

    def table(self) -> pd.DataFrame:
        return self._table

    def draws(self) -> pd.DataFrame:
        return self.drawn

    @cached_property
    def _table(self) -> pd.DataFrame:
        rows = []
        for point in self.points:
            if point.error:
                rows.append({**point.labels, "class": "all", "error": point.error})
                continue
            summary = metrics.summarise(point.tables, point.requests())
            rows += [{**point.labels, "class": c, **m, "error": ""} for c, m in summary.items()]
        return pd.DataFrame(rows)


def experiment(
    systems: Sequence[str] = tuple(CAPACITY), rates: Sequence[float] = (2, 4, 6, 8, 10),
    slos: Sequence[float] = (0.4,), seeds: int = 3,
) -> Experiment:  # fmt: skip
    """One point for every combination."""
    return Experiment([
        Point({"system": system, RATE: rate, SLO: slo, "seed": seed},
              run(CAPACITY[system], rate, slo, seed))
        for system in systems for rate in rates for slo in slos for seed in range(seeds)
    ])  # fmt: skip


def run(capacity_rps: float, rate_rps: float, ttft_slo_s: float, seed: int) -> RunTables:
    """An M/M/1-like wait before a decode of random length, on one replica."""
    rng = np.random.default_rng(seed)
    count = rng.poisson(rate_rps * DURATION_S)
    arrival = np.sort(rng.uniform(0, DURATION_S, count))
    service = rng.exponential(1 / capacity_rps, count)
    total = np.cumsum(service)
    scheduled = np.maximum.accumulate(arrival - total + service) + total - service
    length = 1 + rng.geometric(1 / 120, count)
    dt = rng.gamma(20, 0.03 / 20, int((total[-1] + DURATION_S + 40) / 0.03))
    end = np.cumsum(dt * (1 + 0.4 * rate_rps / capacity_rps))
    first = np.searchsorted(end, scheduled + 0.05 + rng.exponential(0.03, count))
    last = np.minimum(first + length, end.size)
    end = end[: last.max()]
    real_time = rng.random(count) < 0.6
    requests = pd.DataFrame({
        "request_id": [f"chat-{n}" for n in range(count)], "stream": "chat",
        "class": np.where(real_time, "rt", "be"), "arrival_s": arrival, "prompt_tokens": 300,
        "output_tokens": last - first, "max_tokens": 400,
        "ttft_slo_s": np.where(real_time, ttft_slo_s, np.nan),
        "tpot_slo_s": np.where(real_time, 0.06, np.nan), "e2e_slo_s": np.nan, "replica": 0,
        "status": "completed",
        "first_scheduled_s": scheduled, "first_token_s": end[first], "last_token_s": end[last - 1],
        "generated_tokens": last - first, "cached_tokens": 0, "num_preemptions": 0,
        "recomputed_tokens": 0, "swapped_blocks": 0, "checkpointed_slots": 0,
    }, columns=list(names(logged(REQUESTS))))  # fmt: skip
    spans = pd.DataFrame({
        "request": np.arange(count), "engine": 0, "first_iteration": first,
        "tokens": last - first, "ended": "finished",
    }, columns=list(names(SPANS)))  # fmt: skip
    nothing = run_tables(RunLog().record(DURATION_S))
    engines = pd.DataFrame({
        "engine": [0], "pool": "", "profile": "", "block_size": 16, "kv_blocks": 10_000,
        "up_s": 0.0, "down_s": np.nan,
    })  # fmt: skip
    steps = _steps(requests, end, first, last, real_time)
    return replace(
        nothing,
        requests=requests,
        steps=steps,
        spans=spans,
        engines=engines,
        iteration_end_s=(end,),
    )


def _steps(requests, end, first, last, real_time) -> pd.DataFrame:
    size = end.size
    arrived = np.searchsorted(end, requests["arrival_s"])

    def between(start: np.ndarray, stop: np.ndarray, mine: np.ndarray) -> np.ndarray:
        change = np.bincount(start[mine], minlength=size + 1).astype(float)
        change -= np.bincount(np.minimum(stop[mine], size), minlength=size + 1)
        return np.cumsum(change)[:size]

    running = {c: between(first, last, real_time == (c == "rt")) for c in ("rt", "be")}
    waiting = {c: between(arrived, first, real_time == (c == "rt")) for c in ("rt", "be")}
    kv = {c: running[c] * 360 for c in running}
    decode = running["rt"] + running["be"]
    return pd.DataFrame({
        "replica": 0, "start_s": np.append(0.0, end[:-1]), "end_s": end, "repeat": 1,
        "prefill_tokens": 0, "decode_jobs": decode, "decode_jobs_rt": running["rt"],
        "tokens_to_cpu": 0, "tokens_to_gpu": 0, "kv_tokens": kv["rt"] + kv["be"],
        "kv_tokens_rt": kv["rt"], "free_blocks": 10_000 - (kv["rt"] + kv["be"]) // 16,
        "running_rt": running["rt"], "running_be": running["be"], "waiting_rt": waiting["rt"],
        "waiting_be": waiting["be"], "extrapolated": 0,
    }, columns=list(names(STEPS)))  # fmt: skip
