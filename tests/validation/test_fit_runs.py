"""`profile fit-runs`: terms that a run was made with are found again from the run alone."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from bros_sim.cli import app
from bros_sim.profiles.profile import load_profile
from bros_sim.validation.fit_runs import fit_runs
from bros_sim.validation.real_run import read_arguments
from bros_sim.validation.replay import replay
from bros_sim.validation.run_statistics import read_run
from bros_sim.validation.terms import value_of, with_values

NAME = "h100-80gb/qwen3-14b-tp1"
TRUE = {"sustained_compute": 1.2, "step_gap_ms": 1.1, "ingest_ms": 6.0}
NOISE = 0.01
"""Every measured time after the arrival is off by so much of itself."""


def recorded(folder, rate, prompt, seed, requests=400):
    """A run of a server whose terms are `TRUE`, measured with noise."""
    folder.mkdir()
    (folder / "meta.json").write_text(json.dumps({"vllm_version": "0.23.0"}))
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / rate, requests))
    table = pd.DataFrame(
        {
            "request_id": np.arange(requests),
            "arrival_s": arrivals - arrivals[0],
            "prompt_tokens": rng.integers(prompt // 2, prompt * 3 // 2, requests),
            "output_tokens": 40,
        }
    )
    server = with_values(load_profile(NAME), TRUE)
    times = replay(table, read_arguments(folder / "meta.json"), server)
    scatter = np.exp(NOISE * rng.standard_normal(requests))
    for column in ("first_token_s", "last_token_s"):
        table[column] = table["arrival_s"] + (times[column] - table["arrival_s"]) * scatter
    table.to_csv(folder / "requests.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return [recorded(root / "idle", 2, 600, 1), recorded(root / "busy", 9, 900, 2)]


def test_the_terms_of_a_known_server_are_found_again(folders):
    fit = fit_runs([read_run(folder) for folder in folders], load_profile(NAME), list(TRUE))
    for name, value, error in zip(fit.terms, fit.values, fit.standard_errors, strict=True):
        assert abs(value - TRUE[name]) < 4 * error + 0.02 * TRUE[name], name
        assert 0 < error < 0.2 * TRUE[name], name
        assert value_of(fit.profile, name) == value
    for name, comparison in fit.after.items():
        before, after = fit.before[name].metrics["e2e"]["mean"], comparison.metrics["e2e"]["mean"]
        assert abs(after["error_pct"]) < 1.5 < abs(before["error_pct"])


def test_terms_that_a_run_cannot_tell_apart_are_named(tmp_path):
    """With one length of prompt alone, a cost of a request and one of its tokens are the same."""
    folder = recorded(tmp_path / "one", 1, 2000, 3, requests=100)
    table = pd.read_csv(folder / "requests.csv").assign(prompt_tokens=2000)
    table.to_csv(folder / "requests.csv", index=False)
    names = ["ingest_ms", "ingest_ms_per_prompt_token"]
    advice = " ".join(fit_runs([read_run(folder)], load_profile(NAME), names).advice)
    assert "cannot tell ingest_ms from ingest_ms_per_prompt_token" in advice
    assert "the length of prompts" in advice


@pytest.fixture(scope="module")
def printed(folders, tmp_path_factory):
    out = tmp_path_factory.mktemp("fit") / "mine.yaml"
    arguments = [
        "profile", "fit-runs", str(folders[0]), "--holdout", str(folders[1]), "--profile", NAME,
        "--terms", "step_gap_ms,ingest_ms", "--out", str(out),
    ]  # fmt: skip
    texts = [
        CliRunner().invoke(app, [*arguments, "--format", "json", "--workers", workers])
        for workers in ("1", "2")
    ]
    assert [text.exit_code for text in texts] == [0, 0], texts[0].output
    return out, texts


def test_the_profile_says_which_runs_and_draws_from_their_covariance(printed):
    profile = load_profile(printed[0])
    assert profile.label.endswith("; terms fitted to 1 run(s)")
    term = profile.engine.terms["ingest_ms"]
    assert "idle (vLLM 0.23.0)" in term.basis
    assert term.standard_error > 0
    uncertainty = profile.uncertainty[profile.default_model]
    assert list(uncertainty.factors[0]) == ["overhead.const_ms"]


def test_the_result_does_not_depend_on_the_number_of_workers(printed):
    assert printed[1][0].stdout == printed[1][1].stdout
    assert json.loads(printed[1][0].stdout)["held_out"][0].endswith("busy")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--profile", NAME], "nowhere: should be a folder with requests.csv"),
        ([*["tests/data/runs/light"] * 2, "--profile", NAME], "one is given twice"),
        (["nowhere", "--profile", NAME, "--terms", "gap"], "--terms: there is no term 'gap'"),
    ],
)
def test_faults_are_one_line_and_exit_code_2(tmp_path, arguments, message):
    out = tmp_path / "mine.yaml"
    result = CliRunner().invoke(app, ["profile", "fit-runs", *arguments, "--out", str(out)])
    assert result.exit_code == 2
    assert message in result.stderr
    assert not out.exists()
