"""Every metric again, as conventions word it: plain loops over requests and tokens."""

import itertools
import math
from collections.abc import Iterator

import numpy as np

from bros_sim.core.request import Slo
from bros_sim.engine.record import EVERYONE
from bros_sim.metrics.tables import RunTables

NAN = float("nan")


def token_times(tables: RunTables, number: int) -> list[float]:
    spans = tables.spans[tables.spans["request"] == number]
    return [
        float(tables.iteration_end_s[span.engine][i])
        for span in spans.itertuples()
        for i in _iterations(tables, span)
    ]


def _iterations(tables: RunTables, span) -> Iterator[int]:
    """The iteration of each token of a span."""
    rows = tables.exceptions[tables.exceptions["engine"] == span.engine]
    said = {(row.request, row.iteration): row.tokens for row in rows.itertuples()}
    left = span.tokens
    for i in itertools.count(span.first_iteration):
        of_all = 1 if i == span.first_iteration else said.get((EVERYONE, i), 1)
        for _ in range(said.get((span.request, i), of_all)):
            yield i
            left -= 1
        if not left:
            return


def judge(tables: RunTables) -> list[dict]:
    """One dict per request."""
    judged = []
    for number, (_, row) in enumerate(tables.requests.iterrows()):
        times = token_times(tables, number)
        arrival, done, n = row["arrival_s"], row["status"] == "completed", len(times)
        objectives = (row[f"{name}_slo_s"] for name in ("ttft", "tpot", "e2e"))
        slo = Slo(*(None if math.isnan(value) else value for value in objectives))
        gaps = [b - a for a, b in itertools.pairwise(times)]
        ttft = times[0] - arrival if times else NAN
        tpot = (times[-1] - times[0]) / (n - 1) if done and n > 1 else NAN
        on_time = sum(t <= slo.deadline(arrival, k) for k, t in enumerate(times, 1))
        ttft_met = done and (slo.ttft_s is None or ttft <= slo.ttft_s)
        tpot_met = done and (slo.tpot_s is None or n < 2 or tpot <= slo.tpot_s)
        e2e_met = done and (slo.e2e_s is None or times[-1] - arrival <= slo.e2e_s)
        has_slo = slo != Slo()
        judged.append({
            "row": row, "times": times, "gaps": gaps, "slo": slo, "done": done, "has_slo": has_slo,
            "ttft_s": ttft, "tpot_s": tpot, "max_itl_s": max(gaps, default=NAN),
            "e2e_s": times[-1] - arrival if done else NAN, "tokens_on_time": on_time,
            "ttft_met": ttft_met, "tpot_met": tpot_met, "e2e_met": e2e_met,
            "slo_met": (ttft_met and tpot_met and e2e_met) if has_slo else None,
            "owed": n if done else row["output_tokens"],
            "queue_time_s": row["first_scheduled_s"] - arrival,
        })  # fmt: skip
    return judged


def _share(part: float, whole: float) -> float:
    return part / whole if whole else NAN


def _latency(name: str, sample: list[float]) -> dict[str, float]:
    sample = [value for value in sample if not math.isnan(value)]
    figures = {f"mean_{name}_ms": 1e3 * np.mean(sample) if sample else NAN}
    for q in (50, 90, 95, 99):
        figures[f"p{q}_{name}_ms"] = 1e3 * np.percentile(sample, q) if sample else NAN
    return figures


def summary(tables: RunTables, name: str, warmup_s: float) -> dict[str, float]:
    """The metrics of one class that come from requests and their tokens."""
    everyone = judge(tables)
    members = [r for r in everyone if name in ("all", r["row"]["class"])]
    window = [r for r in members if r["row"]["arrival_s"] >= warmup_s]
    slo = [r for r in window if r["has_slo"]]
    with_ttft = [r for r in slo if r["slo"].ttft_s is not None]
    with_tpot = [r for r in slo if r["slo"].tpot_s is not None]
    with_e2e = [r for r in slo if r["slo"].e2e_s is not None]
    found = {"arrived": len(window)}
    for status in ("completed", "rejected", "unfinished"):
        found[status] = sum(r["row"]["status"] == status for r in window)
    for key in (
        "num_preemptions", "recomputed_tokens", "cached_tokens", "swapped_blocks",
        "checkpointed_slots",
    ):  # fmt: skip
        found[key] = sum(r["row"][key] for r in window)
    found |= {
        "slo_attainment": _share(sum(r["slo_met"] for r in slo), len(slo)),
        "ttft_attainment": _share(sum(r["ttft_met"] for r in slo), len(slo) if with_ttft else 0),
        "tpot_attainment": _share(sum(r["tpot_met"] for r in slo), len(slo) if with_tpot else 0),
        "e2e_attainment": _share(sum(r["e2e_met"] for r in slo), len(slo) if with_e2e else 0),
        "token_slo_attainment_deadline": _share(
            sum(r["tokens_on_time"] for r in with_ttft), sum(r["owed"] for r in with_ttft)
        ),
        "token_slo_attainment_gap": _share(
            sum(gap <= r["slo"].tpot_s for r in with_tpot for gap in r["gaps"]),
            sum(max(r["owed"] - 1, 0) for r in with_tpot),
        ),
    }
    for latency in ("ttft", "tpot", "e2e", "queue_time"):
        found |= _latency(latency, [r[f"{latency}_s"] for r in window])
    found |= _latency("itl", [gap for r in window for gap in r["gaps"]])
    found |= _latency(
        "normalized_latency", [r["e2e_s"] / len(r["times"]) for r in window if r["done"]]
    )
    stalls = [r["max_itl_s"] for r in window if r["gaps"]]
    found["max_itl_ms"] = 1e3 * max(stalls, default=NAN)
    return found | _makespan(everyone, members) | _steady(tables, members, warmup_s)


def _makespan(everyone: list[dict], members: list[dict]) -> dict[str, float]:
    tokens = [t for r in everyone for t in r["times"]]
    span = max(tokens) - min(r["row"]["arrival_s"] for r in everyone) if tokens else NAN
    over = span or NAN
    done = [r for r in members if r["done"]]
    output = sum(len(r["times"]) for r in done)
    return {
        "makespan_s": span,
        "goodput": sum(bool(r["slo_met"]) for r in done) / over,
        "request_throughput": len(done) / over,
        "output_throughput": output / over,
        "total_token_throughput": (output + sum(r["row"]["prompt_tokens"] for r in done)) / over,
    }


def _steady(tables: RunTables, members: list[dict], warmup_s: float) -> dict[str, float]:
    span = tables.duration_s - warmup_s
    if span <= 0:
        span = NAN

    def inside(t: float) -> bool:
        return warmup_s <= t <= tables.duration_s

    left = [r for r in members if r["done"] and inside(r["times"][-1])]
    tokens = sum(inside(t) for r in members for t in r["times"])
    prompts = sum(
        r["row"]["prompt_tokens"] for r in members if r["times"] and inside(r["times"][0])
    )
    return {
        "goodput_steady": sum(bool(r["slo_met"]) for r in left) / span,
        "request_throughput_steady": len(left) / span,
        "output_throughput_steady": tokens / span,
        "total_token_throughput_steady": (tokens + prompts) / span,
    }
