"""Closed forms and edges of the metrics."""

import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from counting import calls_of
from metric_runs import build, step

from bros_sim import metrics
from bros_sim.core.request import Slo
from bros_sim.metrics.catalogue import LATENCIES, METRICS, metric_name
from bros_sim.metrics.measured import P999_FROM, STATISTICS
from bros_sim.metrics.tables import RunTables
from bros_sim.metrics.usage import extrapolated_share, kv_usage


def summarise(tables, **options):
    return metrics.summarise(tables, metrics.request_metrics(tables), **options)


def test_a_preemption_is_one_gap_and_resets_nothing(run_of_all_kinds):
    table = metrics.request_metrics(run_of_all_kinds)
    split = table.iloc[0]  # tokens at 0.5, 1.0, then 4.0 and 4.5
    assert split["ttft_s"] == 0.5
    assert split["max_itl_s"] == 3.0
    assert split["tpot_s"] == pytest.approx(4.0 / 3)
    assert split["tokens_on_time"] == 2
    assert split["slo_met"] is np.False_ or split["slo_met"] is False


def test_one_token_has_no_tpot_and_cannot_miss_it(run_of_all_kinds):
    one = metrics.request_metrics(run_of_all_kinds).iloc[1]
    assert math.isnan(one["tpot_s"])
    assert math.isnan(one["max_itl_s"])
    assert one["ttft_s"] == one["e2e_s"] == 2.0
    late = build([{"rows": [(0, 0, 1)], "tpot_slo_s": 0.1}], [[9.0]], duration_s=9)
    assert summarise(late)["rt"]["tpot_attainment"] == 1.0


def test_what_did_not_complete_is_bad_in_every_share(run_of_all_kinds):
    rt = summarise(run_of_all_kinds)["rt"]
    assert [rt[k] for k in ("arrived", "completed", "rejected", "unfinished")] == [5, 2, 1, 2]
    assert rt["slo_attainment"] == 0.0
    assert rt["ttft_attainment"] == 1 / 5
    assert rt["tpot_attainment"] == 1 / 5
    assert rt["token_slo_attainment_deadline"] == (2 + 0 + 3 + 0 + 0) / (4 + 1 + 9 + 7 + 5)


def test_a_class_without_slo_is_not_judged(run_of_all_kinds):
    table, summary = metrics.request_metrics(run_of_all_kinds), summarise(run_of_all_kinds)
    assert table["slo_met"].isna().tolist() == [False] * 5 + [True]
    assert math.isnan(summary["be"]["slo_attainment"])
    assert summary["be"]["goodput"] == 0.0
    assert summary["all"]["slo_attainment"] == summary["rt"]["slo_attainment"]


def test_deadlines_are_those_of_slo():
    ends = [[0.5 + 0.25 * i for i in range(20)]]
    for slo in (Slo(1.0, 0.2), Slo(0.4, 0.3), Slo(1.0, None), Slo(None, 0.1), Slo()):
        request = {
            "rows": [(0, 0, 20)],
            "ttft_slo_s": np.nan if slo.ttft_s is None else slo.ttft_s,
            "tpot_slo_s": np.nan if slo.tpot_s is None else slo.tpot_s,
        }
        table = metrics.request_metrics(build([request], ends, duration_s=6))
        due = [slo.deadline(0.0, k) for k in range(1, 21)]
        expected = sum(t <= d for t, d in zip(ends[0], due, strict=True))
        assert table["tokens_on_time"][0] == expected


def test_an_e2e_slo_alone_judges_the_request_and_no_token():
    slo = {"e2e_slo_s": 3.0}
    requests = [
        {"rows": [(0, 0, 3)], **slo},
        {"rows": [(0, 1, 3)], **slo},
        {"rows": [(0, 0, 1)], "status": "unfinished", **slo},
        {"rows": [(0, 0, 4)]},
    ]
    tables = build(requests, [[1.0, 2.0, 3.0, 4.0]], duration_s=4)
    assert metrics.request_metrics(tables)["slo_met"].tolist() == [True, False, False, pd.NA]
    rt = summarise(tables)["rt"]
    assert rt["e2e_attainment"] == rt["slo_attainment"] == 1 / 3
    assert math.isnan(rt["ttft_attainment"])
    assert math.isnan(rt["token_slo_attainment_deadline"])


def test_no_requests_at_all_measures_nothing():
    summary = summarise(build([], [[]], duration_s=10))
    assert summary["all"]["arrived"] == 0
    assert summary["all"]["saturation"] == "too short"
    assert math.isnan(summary["rt"]["mean_ttft_ms"])


def test_class_rates_add_up_to_the_whole(run_of_all_kinds):
    summary = summarise(run_of_all_kinds)
    for key in METRICS:
        if "throughput" in key or key.startswith("goodput"):
            parts = summary["rt"][key] + summary["be"][key]
            assert summary["all"][key] == pytest.approx(parts), key


def test_warm_up_leaves_early_requests_out():
    requests = [{"rows": [(0, i, 1)], "arrival_s": float(i)} for i in range(6)]
    tables = build(requests, [[float(i + 1) for i in range(6)]], duration_s=5.0)
    late = summarise(tables, warmup_s=2.0)["rt"]
    assert late["arrived"] == 4
    assert late["request_throughput_steady"] == 4 / 3  # done at 2, 3, 4 and 5 of [2, 5]
    assert late["request_throughput"] == 1.0  # the makespan is the whole run


def test_longest_wait_counts_those_that_still_wait():
    requests = [{"rows": [(0, 0, 1)], "first_scheduled_s": 0.5}, {"status": "unfinished"}]
    assert summarise(build(requests, [[1.0]], duration_s=7.0))["rt"]["longest_wait_ms"] == 7000.0


def test_kv_usage_does_not_depend_on_the_length_of_stretches():
    ends = [[1.0, 2.0, 4.0]]
    shape = {
        "decode_jobs": 2,
        "decode_jobs_rt": 1,
        "running_rt": 1,
        "running_be": 1,
        "free_blocks": 4,
    }
    stretch = [step(0.0, 4.0, repeat=3, kv_tokens=40, kv_tokens_rt=10, **shape)]
    single = [
        step(start, end, kv_tokens=40 + 2 * i, kv_tokens_rt=10 + i, **shape)
        for i, (start, end) in enumerate([(0.0, 1.0), (1.0, 2.0), (2.0, 4.0)])
    ]
    first, second = (
        kv_usage(build([], ends, duration_s=4, steps=rows), 0.0) for rows in (stretch, single)
    )
    assert first == second
    assert first["all"] == pytest.approx(((40 + 42 + 2 * 44) / 4 / 160, 44 / 160))
    assert first["rt"] == pytest.approx(((10 + 11 + 2 * 12) / 4 / 160, 12 / 160))


def test_a_shared_prefix_is_in_memory_once():
    rows = [step(0.0, 1.0, kv_tokens=320, kv_tokens_rt=80, free_blocks=5)]
    usage = kv_usage(build([], [[1.0]], duration_s=1, steps=rows), 0.0)
    assert usage["all"] == (0.5, 0.5)
    assert usage["rt"] == (0.125, 0.125)


def test_a_shared_prefix_never_fills_more_than_the_card():
    """Its last slots are counted as full, so a long stretch grows beyond them on paper."""
    ends = [[float(n) for n in range(1, 41)]]
    shape = {
        "decode_jobs": 2,
        "decode_jobs_rt": 1,
        "running_rt": 1,
        "running_be": 1,
        "free_blocks": 1,
    }
    rows = [step(0.0, 40.0, repeat=40, kv_tokens=320, kv_tokens_rt=80, **shape)]
    usage = kv_usage(build([], ends, duration_s=40, steps=rows), 0.0)
    assert usage["all"][1] == 1.0
    assert usage["rt"][0] + usage["be"][0] == pytest.approx(usage["all"][0])


def test_without_busy_time_there_is_no_usage():
    rows = [step(1e9, 1e9, kv_tokens=32)]
    usage = kv_usage(build([], [[1e9]], duration_s=1, steps=rows), 0.0)
    assert all(math.isnan(value) for pair in usage.values() for value in pair)


def test_extrapolated_share_is_over_iterations():
    rows = [step(0, 1, repeat=30, extrapolated=30), step(1, 2, repeat=70)]
    assert extrapolated_share(build([], [[]], duration_s=1, steps=rows).steps) == 0.3


def _big(requests: int, tokens: int) -> RunTables:
    rng = np.random.default_rng(1)
    length = np.maximum(1, rng.poisson(tokens, requests))
    end = np.cumsum(rng.gamma(4.0, 0.005, 3 * requests))
    first = np.sort(rng.integers(0, end.size - 2 * tokens, requests))
    template = build([{"rows": [(0, 0, 1)], "ttft_slo_s": 0.5, "tpot_slo_s": 0.02}], [[1.0]],
                     duration_s=float(end[-1]))  # fmt: skip
    log = pd.DataFrame(dict(template.requests.iloc[0]), index=range(requests))
    log = log.assign(
        arrival_s=np.sort(np.maximum(end[first] - 0.4, 0.0)), output_tokens=length,
        generated_tokens=length, first_token_s=end[first], last_token_s=end[first + length - 1],
    )  # fmt: skip
    log.loc[::2, "class"] = "be"
    spans = pd.DataFrame(
        {"request": np.arange(requests), "engine": 0, "first_iteration": first, "tokens": length}
    )
    steps = pd.DataFrame(
        {**step(0.0, 0.0), "start_s": np.append(0.0, end[:-1]), "end_s": end}, index=range(end.size)
    )
    return replace(
        template, requests=log, steps=steps, spans=spans, iteration_end_s=(end,),
        duration_s=float(end[-1]),
    )  # fmt: skip


def test_p999_is_given_from_ten_thousand_requests():
    summary = summarise(_big(P999_FROM + 2, 3))
    stats = {f"{stat}_{name}_ms" for stat in STATISTICS for name in LATENCIES}
    assert {key for key in METRICS if key in summary["all"]} == set(METRICS) - {"be_retention"}
    assert {key for key in stats if key not in summary["rt"]} == {
        f"p999_{name}_ms" for name in LATENCIES
    }


def test_no_call_is_made_per_request_and_little_memory_is_taken():
    few, tables = _big(2_000, 211), _big(20_000, 211)
    assert calls_of(summarise, tables) < calls_of(summarise, few) + 18_000 / 4
    tracemalloc.start()
    summarise(tables)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6


def test_an_iteration_needs_little_memory():
    """Long decodes at light load: one request after another, a million iterations."""
    end = np.cumsum(np.random.default_rng(1).uniform(0.01, 0.011, 1_000_000))
    rows = [{"rows": [(0, first, 4_000)], "class": ("rt", "be")[first % 8_000 > 0]}
            for first in range(0, end.size, 4_000)]  # fmt: skip
    steps = [step(0.0, float(end[-1]), repeat=end.size, decode_jobs=1)]
    tables = build(rows, [end], duration_s=float(end[-1]), steps=steps)
    tracemalloc.start()
    summarise(tables)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * end.size


def test_every_metric_says_what_it_is():
    for name, metric in METRICS.items():
        assert metric.label, name
        assert metric.doc, name
        assert "\n" not in metric.doc
        assert metric.better in ("higher", "lower", None)
    assert metric_name("p99_e2el_ms") == "p99_e2e_ms"
