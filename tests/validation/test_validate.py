"""`bros-sim validate`: bounds on the real run, exactness on a run of our own, faults."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from bros_sim.cli import app
from bros_sim.profiles.profile import load_profile
from bros_sim.validation.compare import METRICS, STATISTICS, compare
from bros_sim.validation.real_run import read_arguments, read_requests
from bros_sim.validation.replay import replay

SHARED = Path(__file__).parents[3] / "shared" / "data" / "real_runs"
NAME = "rtxpro6000/llama-3.1-8b-tp1"
REAL = {  # profile -> mean TTFT and p99 of E2E as published beside the run, ms
    NAME: (7097.2, 37638.8),
    "rtx4090/llama-3.1-8b-tp1": (65456.6, 153627.5),
    "rtxpro6000/qwen3-32b-tp2": (36905.2, 126337.0),
}
META = {"vllm_version": "0.19.0", "engine_kwargs": {"max_num_seqs": 4, "max_model_len": None}}
HEAD = (
    "request_id,arrival_s,prompt_tokens,output_tokens,queued_s,first_token_s,last_token_s,"
    "block_hashes_16"
)


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """A "real" run whose times are those of its own replay."""
    folder = tmp_path_factory.mktemp("run")
    meta = folder / "meta.json"
    meta.write_text(json.dumps(META))
    rng = np.random.default_rng(3)
    table = pd.DataFrame(
        {
            "request_id": [f"r{n}" for n in range(40)],
            "arrival_s": np.sort(rng.uniform(0, 4, 40)),
            "prompt_tokens": rng.integers(16, 3000, 40),
            "output_tokens": rng.integers(1, 60, 40),
            "block_hashes_16": [f"7 {n}" for n in range(40)],
        }
    )
    times = replay(table, read_arguments(meta), load_profile(NAME))
    for column in ("queued_s", "first_token_s", "last_token_s"):
        table[column] = times[column]
    table.to_csv(folder / "requests.csv", index=False)
    return folder


def run(folder, *options):
    arguments = ["--profile", NAME, "--engine-args", str(folder / "meta.json"), *options]
    return CliRunner().invoke(app, ["validate", str(folder / "requests.csv"), *arguments])


@pytest.mark.skipif(not SHARED.is_dir(), reason="real runs lie outside the repository (../shared)")
@pytest.mark.parametrize("name", REAL)
def test_a_real_run_is_predicted_within_its_bounds(name):
    folder = SHARED / name.replace("/", "_").replace("-tp", "_tp")
    real, arguments = (
        read_requests(folder / "requests.csv.gz"),
        read_arguments(folder / "meta.json"),
    )
    metrics = compare(real, replay(real, arguments, load_profile(name))).metrics
    bounds = {"ttft": (3, 5), "tpot": (1.5, 1.5), "e2e": (1.5, 1.5)}
    for metric, (mean, percentile) in bounds.items():
        for statistic, found in metrics[metric].items():
            assert abs(found["error_pct"]) <= (mean if statistic == "mean" else percentile)
    published = metrics["ttft"]["mean"]["real"], metrics["e2e"]["p99"]["real"]
    assert published == pytest.approx(REAL[name], abs=0.06)


def test_a_run_of_our_own_is_predicted_exactly(ours):
    result = run(ours, "--format", "json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert list(found["metrics"]) == list(METRICS)
    for statistics in found["metrics"].values():
        assert list(statistics) == list(STATISTICS)
        for cell in statistics.values():
            assert list(cell) == ["real", "simulated", "error_pct"]
            assert cell["error_pct"] == pytest.approx(0, abs=1e-6)
    assert found["throughput"]["real"] == pytest.approx(found["throughput"]["simulated"])


def test_table_and_figure(ours, tmp_path):
    result = run(ours, "--out", str(tmp_path / "new"))
    assert "TTFT mean" in result.stdout
    assert "single requests" in result.stdout
    assert {p.name for p in (tmp_path / "new").iterdir()} == {"validation.png", "validation.svg"}


def test_tokens_of_a_time_series_add_up(ours):
    real, arguments = read_requests(ours / "requests.csv"), read_arguments(ours / "meta.json")
    table = compare(real, replay(real, arguments, load_profile(NAME))).throughput
    widths = np.diff(table["time_s"], append=table["time_s"].iloc[-1] + 5.0)
    assert (table["real"] * widths).sum() == pytest.approx(real["output_tokens"].sum())


@pytest.mark.parametrize(
    ("rows", "meta", "message"),
    [
        ("a,0,10,5,0,1,2,", "{", "meta.json: not readable as JSON"),
        ("a,0,10,5,0,1,2,", "[1]", "should be a mapping"),
        (
            "a,0,10,5,0,1,2,",
            {"engine_kwargs": {"max_num_seqs": "many"}},
            "should be a whole number",
        ),
        ("a,0,10,5,0,1,2,", {"tensor_parallel_size": 2}, "tensor_parallel_size 2 is not that of"),
        ("a,0,10,5,0,1,2,", {"pipeline_parallel_size": 2}, "cannot be replayed"),
        ("a,0,10,5,0,1,2,", {"vllm_version": "new"}, "should be like 0.19.0"),
        ("a,0,10,5,0,1,2,", {"max_num_batched_tokens": 8, "max_num_seqs": 9}, "below max_num_seqs"),
        ("a,0,10,5,0,1,2,", {"num_gpu_blocks": 1}, "num_gpu_blocks: should be at least 2"),
        (
            "a,0,100,5,0,1,2,",
            {"num_gpu_blocks": 3, "max_model_len": 32},
            "1 of 1 requests never finish",
        ),
        ("a,0,100,5,0,1,2,", {"num_gpu_blocks": 3}, "max_model_len: 32 is the most that fits"),
        ("a,0,10,5,0,nan,2,", {}, "requests.csv:2: first_token_s: should be a time"),
        ("a,0,10,0.5,0,1,2,", {}, "output_tokens: should be a whole number of at least 1"),
        ("a,3,10,5,0,1,2,", {}, "requests.csv:2: arrival_s, first_token_s and last_token_s"),
        ("a,0,10,5,0,1,2,x y", {}, "requests.csv:2: block_hashes_16: should be whole numbers"),
        ("", {}, "holds no request"),
    ],
)
def test_faults_are_lines_and_exit_code_2(tmp_path, rows, meta, message):
    (tmp_path / "requests.csv").write_text(f"{HEAD}\n{rows}\n" if rows else f"{HEAD}\n")
    (tmp_path / "meta.json").write_text(meta if isinstance(meta, str) else json.dumps(meta))
    result = run(tmp_path, "--out", str(tmp_path / "figures"))
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "figures").exists()


def test_a_missing_column_is_named(tmp_path):
    (tmp_path / "requests.csv").write_text("arrival_s,prompt_tokens,first_token_s,last_token_s\n")
    (tmp_path / "meta.json").write_text("{}")
    result = run(tmp_path)
    assert result.exit_code == 2
    assert "there is no column 'output_tokens'" in result.stderr


def test_a_slip_in_the_arguments_is_pointed_out(ours, tmp_path):
    (tmp_path / "requests.csv").write_bytes((ours / "requests.csv").read_bytes())
    (tmp_path / "meta.json").write_text(json.dumps({"max-num-seqs": 4, "max_num_batchd_tokens": 9}))
    result = run(tmp_path)
    assert result.exit_code == 0
    assert "did you mean 'max_num_batched_tokens'?" in result.stderr


def test_a_request_is_taken_in_at_the_end_of_the_iteration_under_way(ours):
    rows = [(0.0, 2000, 30), (0.05, 10, 2), (0.06, 10, 2), (9.0, 10, 2)]
    table = pd.DataFrame(rows, columns=["arrival_s", "prompt_tokens", "output_tokens"])
    times = replay(table, read_arguments(ours / "meta.json"), load_profile(NAME))
    ingest_s = 0.0011
    queued = times["queued_s"]
    assert queued[0] == pytest.approx(ingest_s)
    assert queued[1] == queued[2] == pytest.approx(times["first_token_s"][0])
    assert queued[3] == pytest.approx(9.0 + ingest_s)
    # Planned one iteration after the one that it was taken in behind.
    assert times["first_token_s"][1] > queued[1]
