"""`bros-sim compare`: on a real run, and words for made-up rows."""

import json
import shutil

import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from bros_sim.cli import app
from bros_sim.metrics.paired import MEASURED
from bros_sim.report.verdict import signed, verdict
from tests.cli.conftest import EXPERIMENT

RATE = "workload.chat.arrivals.rate_rps"
STEPS = "systems.FCFS.scheduler.max_num_batched_tokens"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """FCFS with tiny steps is slow beyond any doubt."""
    folder = tmp_path_factory.mktemp("compare")
    (folder / "tiny.yaml").write_text(EXPERIMENT)
    options = ("--set", "sweep.seeds=4", "--set", f"{STEPS}=16", "--set", "warmup_s=1")
    line = ["run", str(folder / "tiny.yaml"), *options, "--out", str(folder), "--workers", "1"]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.output
    return folder / "tiny"


@pytest.fixture
def ran(made, tmp_path):
    return shutil.copytree(made, tmp_path / "results" / "tiny")


@pytest.mark.slow
def test_the_table_the_requests_and_the_verdict(bros, ran):
    result = bros("compare", ran)
    assert result.exit_code == 0, result.output
    title, _, table = result.stdout.partition("Mean TTFT, real-time (ms, lower is better):\n")
    assert "SLO attainment, real-time (%, higher is better):" in title
    assert table.count("lower, better") >= 2
    assert "means of the seeds' p99" in table
    assert "Requests that met their SLO (A: FCFS, B: the system):" in table
    assert "Requests that changed most" in table
    said = " ".join(table.split())
    assert "Against FCFS, over the same 4 seeds: Priority: SLO attainment" in said
    assert "Mean TTFT (real-time) is lower by " in said
    assert "too short, its numbers depend on duration_s" in said


def test_json_holds_the_numbers_of_the_summary(bros, ran):
    options = ("--baseline", "Priority", "--metric", "p90_ttft_ms", "--format", "json")
    result = bros("compare", ran, *options)
    content = json.loads(result.stdout)
    (low, high) = content["comparisons"]
    assert (low[RATE], high[RATE], low["system"]) == (2, 4, "FCFS")
    table = pd.read_csv(ran / "summary.csv").query("`class` == 'rt'").set_index(["system", RATE])
    first, second = (table.loc[(name, 2), "p90_ttft_ms"] for name in ("Priority", "FCFS"))
    interval = stats.ttest_rel(second, first).confidence_interval()
    assert (low["low"], low["high"]) == pytest.approx((interval.low, interval.high))
    assert content["verdict"].startswith("Against Priority, over the same 4 seeds: FCFS:")
    counts = content["slo_by_request"][0]
    whole = sum(counts[name] for name in ("both", "only_baseline", "only_system", "neither"))
    assert whole == table.loc[("FCFS", 2), "arrived"].sum()
    assert len(content["changed_most"]) == 5
    assert {row["class"] for row in content["changed_most"]} == {"rt"}  # clients' turns differ


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--baseline", "FCFC"], "--baseline: there is no system 'FCFC' (did you mean 'FCFS'?)"),
        (["--metric", "p98_ttft_ms"], "--metric p98_ttft_ms: there is no metric"),
        (["--metric", "mean_ttft_ms[chat]"], "there is no class 'chat'"),
    ],
)
def test_bad_options_are_one_line(bros, ran, options, says):
    result = bros("compare", ran, *options)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert not result.stdout


def test_results_that_cannot_be_compared(bros, tiny, ran, tmp_path):
    (tmp_path / "empty").mkdir()
    result = bros("compare", "empty")
    assert (result.exit_code, "is this the folder" in result.stderr) == (2, True)
    only = tiny.read_text().replace(
        "  Priority: {scheduler: {kind: vllm, policy: priority}, kv: {kind: paged}}\n", ""
    )
    tiny.write_text(only.replace("name: tiny", "name: only"))
    assert bros("run", tiny).exit_code == 0
    result = bros("compare", tmp_path / "results" / "only")
    assert (result.exit_code, "there is nothing to compare" in result.stderr) == (2, True)
    (file,) = next((ran / "points").iterdir()).glob("requests.parquet")
    file.write_bytes(b"no table")
    result = bros("compare", ran)
    assert (result.exit_code, "damaged, run it again" in result.stderr) == (2, True)


def row(rate, word, low, high, **other):
    values = {
        "system": "B", RATE: rate, "class": "rt", "metric": "slo_attainment", "low": low,
        "high": high, "seeds": 5, "verdict": word, "why": "", "load": "", **other,
    }  # fmt: skip
    return {"system": "B", RATE: rate} | dict.fromkeys(MEASURED, 0) | values


def said(*rows):
    return verdict(pd.DataFrame(rows), [RATE], "A")


def test_the_paragraph_says_where_by_how_much_and_no_more():
    text = said(
        row(2, "lower", -0.03, -0.01),
        row(4, "undecided", -0.02, 0.01, why="the interval holds 0"),
        row(6, "higher", 0.10, 0.20),
        row(8, "higher", 0.30, 0.50, load="overloaded / stable"),
    )
    assert text == (
        "Against A, over the same 5 seeds: B: SLO attainment (real-time) is higher by 10"
        " to 50 points at rate_rps = 6 and rate_rps = 8, lower by 1 to 3 points at rate_rps = 2,"
        " undecided at rate_rps = 4. Where a run is overloaded, its numbers depend on duration_s"
        " and are no steady state."
    )


def test_the_paragraph_counts_where_there_are_many_points():
    text = said(*(row(n, "higher", 0.1, 0.2) for n in range(4)), row(9, "equal", 0, 0))
    assert "is higher by 10 to 20 points at 4 of 5 points, equal at rate_rps = 9." in text
    many = said(*(row(n, "undecided", -1, 1) for n in range(40)))
    assert "is undecided everywhere." in many
    assert "of 40 about 2 would exclude 0 by chance alone" in many


def test_one_seed_decides_nothing():
    text = said(row(2, "one seed", float("nan"), float("nan"), seeds=1))
    assert "is not judged. One seed says nothing about chance" in text
    assert signed(row(2, "one seed", 0, 0)) == "one seed: no interval"


def test_signs_in_words():
    assert signed(row(2, "higher", 1, 2)) == "higher, better"
    assert signed(row(2, "higher", 1, 2, metric="mean_ttft_ms")) == "higher, worse"
    assert signed(row(2, "lower", 1, 2, metric="mean_kv_usage")) == "lower"
    assert signed(row(2, "undecided", 1, 2, why="so")) == "undecided: so"
