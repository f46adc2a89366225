"""What compares points: be_retention against runs of their own, capacity off a sweep."""

import json
import shutil

import pandas as pd
import pytest

from bros_sim.config import override, parse
from bros_sim.experiment import load
from bros_sim.study import runner
from tests.cli.conftest import EXPERIMENT

pytestmark = pytest.mark.slow

RATE = "workload.chat.arrivals.rate_rps"
ASKING = EXPERIMENT.replace("sweep:", "outputs: {be_retention: true}\nsweep:")
STEADY = "output_throughput_steady"


def loaded(text=ASKING, **changes):
    document = parse(text, "e.yaml")
    for path, value in changes.items():
        document = override(document, f"{path.replace('__', '.')}={value}")
    return load(document)


def summary(tmp_path, name="tiny"):
    table = pd.read_csv(tmp_path / "results" / name / "summary.csv")
    return table[table["class"] == "be"].set_index(["system", RATE])


def test_points_that_differ_in_rt_only_share_a_baseline():
    two = loaded(sweep__seeds=2)
    assert len(two.points) == 8
    assert len(two.baselines) == 4  # systems x seeds
    assert {name for point in two.baselines for name in point.spec.workload} == {"batch"}
    clients = "{workload.batch.arrivals.clients: [2, 3]}"
    assert len(loaded(sweep__grid=clients).baselines) == 4
    assert loaded(EXPERIMENT).baselines == []


def test_a_trace_of_the_chat_is_no_part_of_the_baseline(tmp_path):
    found = []
    for content in ("0.1,10,5\n", "0.2,11,6\n"):
        (tmp_path / "t.csv").write_text(f"arrival_s,prompt_tokens,output_tokens\n{content}")
        text = ASKING.replace("{kind: poisson, rate_rps: 4}", "{kind: replay, path: t.csv}")
        text = text.replace("    lengths: {kind: fixed, prompt: 64, output: 8}\n", "")
        text = text[: text.index("sweep:")]
        points = load(parse(text, str(tmp_path / "e.yaml")))
        found.append(({p.key for p in points.points}, {p.key for p in points.baselines}))
    assert not found[0][0] & found[1][0]
    assert found[0][1] == found[1][1]


def test_retention_is_the_ratio_of_two_runs(bros, tiny, tmp_path):
    tiny.write_text(ASKING)
    result = bros("run", tiny)
    assert result.exit_code == 0, result.output
    assert "BE kept %" in result.stdout
    beside = summary(tmp_path)
    chat = EXPERIMENT[EXPERIMENT.index("  chat:") : EXPERIMENT.index("  batch:")]
    alone = EXPERIMENT.replace(chat, "").replace("name: tiny", "name: alone")
    tiny.write_text(alone[: alone.index("sweep:")])
    assert bros("run", tiny).exit_code == 0
    table = pd.read_csv(tmp_path / "results" / "alone" / "summary.csv")
    served = table[table["class"] == "be"].set_index("system")[STEADY]
    for (system, _), row in beside.iterrows():
        assert row["be_retention"] == pytest.approx(row[STEADY] / served[system], rel=1e-12)
        assert 0 < row["be_retention"] <= 1
    assert beside["be_retention"].min() < 1
    folders = [tmp_path / "results" / name / "points" for name in ("tiny", "alone")]
    names = [{path.name for path in folder.iterdir()} for folder in folders]
    assert names[1] < names[0]


def test_the_same_best_effort_requests_arrive_in_the_baseline(bros, tiny, tmp_path):
    text = ASKING.replace("{kind: closed_loop, clients: 2}", "{kind: poisson, rate_rps: 9}")
    tiny.write_text(text.replace("replicas: 1", "replicas: 2, router: {kind: random}"))
    bros("run", tiny)
    results = tmp_path / "results" / "tiny"
    columns = ["arrival_s", "prompt_tokens", "output_tokens", "max_tokens"]
    for point in json.loads((results / "provenance.json").read_text())["points"]:
        beside, alone = (
            pd.read_parquet(results / "points" / point[key] / "requests.parquet")
            for key in ("key", "be_alone")
        )
        assert set(alone["class"]) == {"be"}
        beside = beside[beside["class"] == "be"][columns].reset_index(drop=True)
        pd.testing.assert_frame_equal(beside, alone[columns])


def test_the_baseline_resumes_and_is_kept_for_plots(bros, tiny, tmp_path):
    tiny.write_text(ASKING.replace("x: ", "y: be_retention, class: be, x: "))
    listed = json.loads(bros("run", tiny, "--dry-run", "--format", "json").stdout)["points"]
    assert {point["be_alone"] for point in listed} == {"missing"}
    bros("run", tiny)
    results = tmp_path / "results" / "tiny"
    before = (results / "summary.csv").read_bytes()
    key = json.loads((results / "provenance.json").read_text())["points"][0]["be_alone"]
    shutil.rmtree(results / "points" / key)
    assert "5 points already" in bros("run", tiny).stderr
    assert (results / "summary.csv").read_bytes() == before
    figures = {path.name: path.read_bytes() for path in (results / "figures").iterdir()}
    assert bros("plot", results).exit_code == 0
    assert {path.name: path.read_bytes() for path in (results / "figures").iterdir()} == figures


def test_a_baseline_that_fails_is_said(bros, tiny, tmp_path, monkeypatch):
    real = runner.run_point

    def fails_alone(spec, **options):
        if set(spec.workload) == {"batch"}:
            raise ZeroDivisionError("made up")
        return real(spec, **options)

    monkeypatch.setattr("bros_sim.study.runner.run_point", fails_alone)
    tiny.write_text(ASKING)
    result = bros("run", tiny)
    assert result.exit_code == 1
    assert result.stderr.count("failed, BE-only baseline: system=") == 2
    assert "be_retention" not in summary(tmp_path)


def test_without_best_effort_there_is_nothing_to_keep(bros, tiny):
    tiny.write_text(ASKING.replace("class: be", "class: rt"))
    result = bros("run", tiny)
    assert result.exit_code == 2
    assert "outputs.be_retention: no stream is of class be" in result.stderr


def test_a_load_sweep_gives_capacities(bros, tiny, tmp_path):
    impossible = ["--set", "systems.FCFS.scheduler.max_num_seqs=1"]
    result = bros("run", tiny, *impossible, "--set", f"sweep.grid.{RATE}=[1, 2, 4, 400]")
    assert "keep 90 % and 99 % SLO met" in result.stdout
    table = pd.read_csv(tmp_path / "results" / "tiny" / "capacity.csv")
    assert table["capacity"].tolist() == ["rate@90", "rate@99"] * 2
    assert table["rate_rps"].between(table["at_least_rps"], table["below_rps"]).sum() == (
        table["rate_rps"].notna().sum()
    )
    rows = json.loads(bros("run", tiny, *impossible, "--format", "json").stdout)["capacity"]
    assert [row["system"] for row in rows] == ["FCFS"] * 2 + ["Priority"] * 2


@pytest.mark.parametrize(
    "grid",
    ["{workload.batch.arrivals.clients: [1, 2]}", f"{{{RATE}: [4]}}"],
)
def test_other_sweeps_have_no_capacity(bros, tiny, tmp_path, grid):
    bros("run", tiny)
    assert (tmp_path / "results" / "tiny" / "capacity.csv").exists()
    result = bros("run", tiny, "--set", f"sweep.grid={grid}", "--set", "figures=[]")
    assert result.exit_code == 0, result.output
    assert "SLO met:" not in result.stdout
    assert not (tmp_path / "results" / "tiny" / "capacity.csv").exists()
