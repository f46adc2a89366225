"""`make validate`: the matrix of recorded runs, on two made-up ones."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks.validation.__main__ import main
from benchmarks.validation.figure import draw
from benchmarks.validation.matrix import (
    aims,
    before_any_fit,
    errors,
    matrix,
    matrix_table,
    real_runs,
)
from benchmarks.validation.pairs import profile_of
from benchmarks.validation.ppas import arrivals, phases
from benchmarks.validation.spread import Load, Reported, makespan, spread, spread_table
from bros_sim.core.errors import InputError
from bros_sim.plots.style import render
from bros_sim.profiles.profile import load_profile
from bros_sim.validation.real_run import read_arguments
from bros_sim.validation.replay import replay
from bros_sim.validation.terms import stated

pytestmark = pytest.mark.slow
NAME = "h100-80gb/qwen3-14b-tp1"
TRUE = {"sustained_compute": 1.15, "ingest_ms": 5.0}


def server():
    """A profile whose terms were fitted."""
    bare = before_any_fit(load_profile(NAME))
    return stated(bare, TRUE, dict.fromkeys(TRUE, 0.1), "made up")


def record(folder, rate, cap=None, requests=60):
    """A run of the server: what the matrix finds below a folder."""
    folder.mkdir(parents=True)
    meta = {"vllm_version": "0.23.0", "client": {"max_concurrency": cap}}
    (folder / "meta.json").write_text(json.dumps(meta))
    rng = np.random.default_rng(requests)
    due = np.cumsum(rng.exponential(1 / rate, requests))
    table = pd.DataFrame({"arrival_s": due - due[0], "prompt_tokens": 1500, "output_tokens": 12})
    table["intended_arrival_s"] = table["arrival_s"]
    times = replay(table, read_arguments(folder / "meta.json"), server())
    for column in ("arrival_s", "first_token_s", "last_token_s"):
        table[column] = times[column]
    table.to_csv(folder / "requests.csv", index=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("real_runs")
    record(root / "h100_qwen3-14b_tp1" / "slow", 2)
    record(root / "h100_qwen3-14b_tp1" / "full", 60, cap=3)
    record(root / "rtx4090_llama-3.1-8b_tp1", 1, requests=4)
    return real_runs(root)


@pytest.fixture(scope="module")
def rows(runs):
    return list(matrix(runs, {NAME: server()}))


def test_a_run_is_judged_before_any_fit_and_left_out_and_as_shipped(rows):
    slow, full, missing = rows
    for row in (slow, full):
        before, left_out, shipped = (
            np.abs(errors(row.found[stage])) for stage in ("before", "left_out", "shipped")
        )
        assert shipped.max() < 1e-6, "the run was made with this very profile"
        assert before[0] > 5, "the terms matter"
        assert left_out[:6].max() < before[0] / 2
    assert missing.found == {}


def test_a_fit_never_sees_the_run_that_it_is_judged_on(runs, monkeypatch):
    seen = []

    def fit(others, profile, terms, holdout, *, ttft, workers):
        seen.append(([run.name for run in others], [run.name for run in holdout]))
        assert profile == before_any_fit(server())
        assert set(terms) == set(TRUE)
        raise InputError("enough")

    monkeypatch.setattr("benchmarks.validation.matrix.fit_runs", fit)
    for run in runs[:2]:
        with pytest.raises(InputError, match="enough"):
            list(
                matrix([run, *(other for other in runs[:2] if other is not run)], {NAME: server()})
            )
    names = [run.name for run, _ in runs[:2]]
    assert seen == [([names[1]], [names[0]]), ([names[0]], [names[1]])]


def test_without_the_measurements_it_says_so_and_stops(tmp_path):
    with pytest.raises(SystemExit, match="is not there: the real runs are not in this repository"):
        main(tmp_path, tmp_path / "validation.md")
    assert not list(tmp_path.iterdir())


def test_what_a_client_at_its_cap_sent_late_is_played_as_a_closed_loop(rows):
    slow, full, _ = rows
    assert (full.capped, full.waits, slow.capped, slow.waits) == (True, True, False, False)
    assert full.load.endswith("3 in flight at most")


def test_the_page_lists_every_run_and_those_without_a_profile_as_such(rows):
    lines = matrix_table(rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert [line.count("|") for line in lines] == [lines[0].count("|")] * len(lines)
    assert "rtx4090/llama-3.1-8b-tp1" in lines[-1]
    assert "its profile is not shipped" in lines[-1]
    assert [line.split("|")[2].strip() for line in aims(rows).splitlines()[2:]] == ["1", "1"]


def test_the_figure_shows_what_was_left_out(rows):
    figure = draw(rows)
    drawn = [line for line in figure.axes[0].lines if line.get_marker() not in ("None", "")]
    assert len(drawn) == 2
    assert render(figure, "png") == render(draw(rows), "png")


def test_a_reported_figure_is_compared_with_its_replay(tmp_path):
    requests = pd.DataFrame({"arrival_s": [0.0], "prompt_tokens": 100, "output_tokens": 5})
    real = (Reported("makespan", 1e9, makespan),)
    load = Load("h100-80gb", "qwen3-14b", 1, "0.11.0", requests, real)
    unknown = replace(load, gpu="abacus")
    errors_, skipped = spread({"made up": [load, unknown]}, tmp_path)
    assert [round(error.error_pct) for error in errors_] == [-100]
    assert skipped == ["made up: abacus/qwen3-14b-tp1: nothing is known of this GPU"]
    assert "| made up | h100-80gb | 0.11.0 | makespan | 1 |" in spread_table(errors_)


def test_a_pair_without_a_shipped_profile_is_derived(tmp_path):
    profile = profile_of("rtx4090", "qwen2.5-7b", 1, tmp_path)
    assert profile.model.parameters == 7_615_616_512, "as the hub states"
    assert profile.label.startswith("Derived from data sheet")
    assert profile_of("a100-80gb", "llama-3-8b", 1, tmp_path) == load_profile(
        "a100-80gb/llama-3-8b-tp1"
    )


def test_arrivals_of_changing_rates_fall_where_the_rate_is_high():
    load = "piecewise_poisson 10:0.2,10:1.0"
    assert phases(load) == [(10.0, 0.2), (10.0, 1.0)]
    times = arrivals(load, 1200, np.random.default_rng(0))
    assert np.all(np.diff(times) >= 0)
    assert 950 < (times > 10).sum() < 1050
