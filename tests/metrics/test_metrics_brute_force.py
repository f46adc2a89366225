"""Every metric equals the plain loop over tokens, on small random runs."""

from dataclasses import replace

import brute_force
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from metric_runs import runs

from bros_sim import metrics
from bros_sim.core.columns import REQUESTS, stored
from bros_sim.metrics import gaps, tokens, usage

pytestmark = pytest.mark.slow


@given(tables=runs())
@settings(deadline=None, max_examples=150)
def test_request_table_equals_brute_force(tables):
    table = metrics.request_metrics(tables)
    assert tuple(table.columns) == stored(REQUESTS)
    for (_, row), expected in zip(table.iterrows(), brute_force.judge(tables), strict=True):
        for key in ("ttft_s", "tpot_s", "max_itl_s", "e2e_s", "tokens_on_time"):
            np.testing.assert_equal(row[key], expected[key], err_msg=key)
        met = None if row["slo_met"] is pd.NA else bool(row["slo_met"])
        assert met == expected["slo_met"]


@given(tables=runs(), warmup_s=st.sampled_from([0.0, 1.0, 3.5]))
@settings(deadline=None, max_examples=150)
def test_summary_equals_brute_force(tables, warmup_s):
    summary = metrics.summarise(tables, metrics.request_metrics(tables), warmup_s=warmup_s)
    assert list(summary) == ["rt", "be", "all"]
    for name, found in summary.items():
        for key, value in brute_force.summary(tables, name, warmup_s).items():
            assert found[key] == pytest.approx(value, rel=1e-12, nan_ok=True), (name, key)


@pytest.fixture(params=[3, gaps.CHUNK], ids=["in chunks", "at once"])
def chunk(request, monkeypatch):
    monkeypatch.setattr(gaps, "CHUNK", request.param)
    monkeypatch.setattr(usage, "CHUNK", request.param)


@pytest.mark.usefixtures("chunk")
@given(tables=runs())
@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_pooled_percentiles_are_numpys_to_the_last_bit(tables):
    ends = tuple(times * 0.1234567 for times in tables.iteration_end_s)  # nothing is exact now
    tables = replace(tables, iteration_end_s=ends)
    rows = tokens.token_rows(tables)
    chosen = (tables.requests["class"] == "rt").to_numpy(bool)
    judged = brute_force.judge(tables)
    expanded = [g for r, mine in zip(judged, chosen, strict=True) if mine for g in r["gaps"]]
    wanted = [0.0, 12.3, 50.0, 90.0, 99.9, 100.0]
    _, found = gaps.pooled(rows, chosen, wanted)
    expected = np.percentile(expanded, wanted) if expanded else [np.nan] * len(wanted)
    np.testing.assert_array_equal(found, expected)


def test_blocks_and_chunks_change_nothing(monkeypatch, run_of_all_kinds):
    whole = metrics.request_metrics(run_of_all_kinds)
    summary = metrics.summarise(run_of_all_kinds, whole)
    monkeypatch.setattr(tokens, "BLOCK_TOKENS", 2)
    monkeypatch.setattr(gaps, "CHUNK", 2)
    monkeypatch.setattr(usage, "CHUNK", 2)
    pd.testing.assert_frame_equal(metrics.request_metrics(run_of_all_kinds), whole)
    np.testing.assert_equal(metrics.summarise(run_of_all_kinds, whole), summary)
