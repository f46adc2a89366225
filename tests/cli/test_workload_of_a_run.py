"""Streams of a run: what is cut is told, what cannot be made is refused, silence is allowed."""

import json
from pathlib import Path

import pandas as pd
import pytest

from bros_sim.workload.intensity import MAX_EPOCHS
from tests.cli.conftest import EXPERIMENT

pytestmark = pytest.mark.slow

RATE = "workload.chat.arrivals.rate_rps"
POISSON = "{kind: poisson, rate_rps: 4}"
OVER_LENGTH = """
name: e
duration_s: 3
cluster: {max_model_len: 100}
workload:
  chat: {class: rt, arrivals: {kind: replay, path: t.csv}}
systems: {A: {scheduler: {kind: vllm}, kv: {kind: paged}}}
"""
CAP = "workload.chat.max_tokens={kind: fixed, tokens: 5}"


def provenance(tmp_path):
    return json.loads((tmp_path / "results" / "tiny" / "provenance.json").read_text())["streams"]


def warnings(result):
    return [line for line in result.stderr.splitlines() if line.startswith("warning: ")]


def test_nothing_cut_is_nothing_said(bros, tiny, tmp_path):
    assert warnings(bros("run", tiny, "--set", "figures=[]")) == []
    assert [(s["stream"], s["changes"]["outputs_cut"]) for s in provenance(tmp_path)] == [
        ("chat", 0), ("batch", 0),
    ]  # fmt: skip


@pytest.mark.parametrize("verb", ["run", "check"])
def test_outputs_cut_to_their_caps_are_told_once(bros, tiny, tmp_path, verb):
    result = bros(verb, tiny, "--set", CAP, "--set", "sweep.seeds=2", "--set", "figures=[]")
    assert result.exit_code == 0
    (line,) = warnings(result)
    assert line == f"warning: workload.chat: 5 of 5 outputs cut to max_tokens (at {RATE} = 2)"
    if verb == "run":
        chat, _ = provenance(tmp_path)
        assert chat["labels"] == {RATE: 2}
        assert (chat["changes"]["outputs"], chat["changes"]["outputs_cut"]) == (5, 5)


@pytest.mark.parametrize("kv", ["paged", "reserved"])
def test_what_is_over_the_model_length_is_rejected_or_cut_with_all_that_follows(bros, tmp_path, kv):
    Path("e.yaml").write_text(OVER_LENGTH.replace("paged", kv))
    rows = "arrival_s,prompt_tokens,output_tokens\n0,50,50\n1,90,20\n2,100,5\n"
    Path("t.csv").write_text(rows)
    result = bros("run", "e.yaml")
    assert "2 of 3 requests rejected: 2 longer than the model length of 100" in result.stdout
    cut = bros("run", "e.yaml", "--set", "cluster.over_model_len=cut", "--out", "cut")
    assert "1 of 3 requests rejected: 1 longer than the model length of 100" in cut.stdout
    assert warnings(cut) == ["warning: workload.chat: 1 of 3 outputs cut to the model length"]
    text = (tmp_path / "cut" / "e" / "provenance.json").read_text()
    changes = json.loads(text)["streams"][0]["changes"]
    assert (changes["outputs_cut"], changes["cut_to_model_len"]) == (1, 1)
    (point,) = (tmp_path / "cut" / "e" / "points").iterdir()
    table = pd.read_parquet(point / "requests.parquet")
    assert table["output_tokens"].tolist() == [50, 10, 5]
    assert table["status"].tolist() == ["completed", "completed", "rejected"]


def test_a_cap_that_cuts_at_one_grid_value_and_in_a_closed_loop(bros, tiny):
    grid = "sweep.grid={workload.chat.max_tokens: [{kind: exact}, {kind: fixed, tokens: 7}]}"
    batch = "workload.batch.max_tokens={kind: fixed, tokens: 4}"
    chat, loop = warnings(bros("check", tiny, "--set", grid, "--set", batch, "--set", "figures=[]"))
    assert "workload.batch: 8" in chat
    assert "of 1,024 outputs cut to max_tokens" in chat
    assert loop.startswith("warning: workload.chat: 13 of 13 outputs cut to max_tokens (at ")


def test_what_the_policy_of_a_trace_changed_is_told_and_recorded(bros, tiny, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("arrival_s,prompt_tokens,output_tokens\n1,10,0\n0,900,5\n2,0,5\n2,30,5\n")
    replay = "{kind: replay, path: t.csv, max_prompt: 100}"
    text = EXPERIMENT[: EXPERIMENT.index("sweep:")].replace(POISSON, replay)
    tiny.write_text(text.replace("    lengths: {kind: fixed, prompt: 64, output: 8}\n", ""))
    (line,) = warnings(bros("run", tiny, "--set", "duration_s=3"))
    assert line == (
        f"warning: workload.chat: {path} (4 rows): 1 rows sorted by time, 1 rows with a prompt of"
        " zero tokens, 1 rows with an output of zero tokens, 1 prompts cut to max_prompt"
    )
    (counts,) = provenance(tmp_path)[0]["changes"]["traces"].values()
    assert (counts["rows_read"], counts["ties"], counts["clipped_prompt"]) == (4, 1, 1)


def short_trace(tmp_path, tiny, extra=""):
    rows = "".join(f"{n / 20},10,5\n" for n in range(61))
    (tmp_path / "t.csv").write_text(f"arrival_s,prompt_tokens,output_tokens\n{rows}")
    text = EXPERIMENT[: EXPERIMENT.index("sweep:")]
    tiny.write_text(text.replace(POISSON, f"{{kind: replay, path: t.csv{extra}}}"))


def test_a_trace_shorter_than_the_run_is_told_once_and_recorded(bros, tiny, tmp_path):
    short_trace(tmp_path, tiny)
    line = "warning: workload.chat: the trace ends at 3 s, duration_s is 5: *_steady rates count"
    assert warnings(bros("run", tiny, "--set", "sweep.seeds=2")) == [f"{line} the silence"]
    chat, batch = provenance(tmp_path)
    assert (chat["changes"]["silent_from_s"], chat["changes"]["duration_s"]) == (3, 5)
    assert batch["changes"]["silent_from_s"] is None


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        (", rate_scale: 2", "ends at 1.5 s"),
        (", rate_scale: 2, scaling: thin", "ends at 3 s"),
        (", rate_scale: 0.605", ""),
        (", rate_scale: 0.3", ""),
    ],
)
def test_what_counts_as_shorter(bros, tiny, tmp_path, extra, told):
    short_trace(tmp_path, tiny, extra)
    assert [told in line for line in warnings(bros("check", tiny))] == [True] * bool(told)


IMPOSSIBLE = {
    "too many requests": (f"{{{RATE}: [2, 1e6], duration_s: [5, 99]}}", "(lower the rate or the"
                          f" duration) (at {RATE} = 1000000.0, duration_s = 99)"),
    "of one kind": ("{workload.chat.arrivals: [{kind: poisson, rate_rps: 1},"
                    " {kind: piecewise, steps: [[0, 1e6]], scale: 9}]}", '"scale": 9})'),
    "nothing in so short a run": ("{duration_s: [5, 1]}", "duration_s = 1)"),
}  # fmt: skip


@pytest.mark.parametrize("kind", IMPOSSIBLE)
@pytest.mark.parametrize("verb", ["run", "check"])
def test_a_grid_value_that_makes_a_stream_impossible(bros, tiny, tmp_path, kind, verb):
    grid, where = IMPOSSIBLE[kind]
    (tmp_path / "t.csv").write_text("arrival_s,prompt_tokens,output_tokens\n3,10,5\n")
    text = EXPERIMENT[: EXPERIMENT.index("figures:")]
    if kind.startswith("nothing"):
        text = text.replace(POISSON, "{kind: replay, path: t.csv}")
    tiny.write_text(text)
    result = bros(verb, tiny, "--set", f"sweep.grid={grid}")
    assert result.exit_code == 2, result.output
    (fault,) = result.stderr.splitlines()
    assert fault.startswith(f"{tiny}:7:3: workload.chat: ")
    assert where in fault
    assert not (tmp_path / "results").exists()


def test_only_streams_in_which_something_new_can_be_cut_are_built(bros, tiny, monkeypatch):
    built = []
    monkeypatch.setattr("bros_sim.experiment.streams.build", lambda *_: built.append(1))
    monkeypatch.setattr("bros_sim.experiment.streams.changes", lambda *_: None)
    grid = f"{{{RATE}: [1, 2, 3, {MAX_EPOCHS // 1000}], workload.chat.slo.ttft_s: [1, 2, 3]}}"
    bros("check", tiny, "--set", f"sweep.grid={grid}", "--set", "figures=[]")
    assert len(built) == 2


PROCESSES = {
    "poisson": POISSON,
    "constant": "{kind: constant, rate_rps: 4}",
    "gamma": "{kind: gamma, rate_rps: 4, cv: 2}",
    "weibull": "{kind: weibull, rate_rps: 4, cv: 2}",
}


@pytest.mark.parametrize("kind", PROCESSES)
def test_a_load_sweep_may_begin_at_zero(bros, tiny, tmp_path, kind):
    text = EXPERIMENT.replace(POISSON, PROCESSES[kind]).replace("[2, 4]", "[0, 4]")
    if kind == "poisson":
        text += "  - {plot: latency_cdf}\n  - {plot: line, x: RATE, y: p99_ttft_ms}\n"
    else:
        text = text[: text.index("figures:")]
    tiny.write_text(text.replace("RATE", RATE))
    result = bros("run", tiny)
    assert (result.exit_code, warnings(result)) == (0, [])
    assert "nan" not in result.stdout.lower()
    table = pd.read_csv(tmp_path / "results" / "tiny" / "summary.csv").set_index(["class", RATE])
    assert (table.loc[("rt", 0), "arrived"] == 0).all()
    assert table.loc[("rt", 0), ["slo_attainment", "p99_ttft_ms"]].isna().all(axis=None)
    assert (table.loc[("be", 0), "output_throughput_steady"] > 0).all()
    assert (table.loc[("rt", 4), "slo_attainment"] > 0).all()
    figures = {path.stem for path in (tmp_path / "results" / "tiny").glob("figures/*.png")}
    assert figures == set(
        ["attainment-rate_rps", "latency_cdf", "line-p99_ttft_ms-rate_rps"] * (kind == "poisson")
    )


def test_nothing_but_silence(bros, tiny):
    text = EXPERIMENT[: EXPERIMENT.index("  batch:")] + EXPERIMENT[EXPERIMENT.index("systems:") :]
    tiny.write_text(text.replace("[2, 4]", "[0]"))
    result = bros("run", tiny)
    assert result.exit_code == 0, result.output
    assert "warning: FCFS: no request arrived after warmup_s" in result.stdout
    assert "nan" not in result.stdout.lower()


BAG = "workload.batch.arrivals={kind: bag, count: 3, deadline_s: 30}"


def test_an_e2e_slo_and_the_deadline_of_a_bag_reach_every_table(bros, tiny, tmp_path):
    chat = "workload.chat.slo={e2e_s: 0.001}"
    result = bros("run", tiny, "--set", chat, "--set", BAG, "--set", "figures=[]")
    assert result.exit_code == 0, result.output
    folder = tmp_path / "results" / "tiny"
    requests = pd.read_parquet(next(folder.glob("points/*/requests.parquet")))
    assert set(requests.groupby(["class", "e2e_slo_s", "slo_met"]).groups) == {
        ("rt", 0.001, False), ("be", 30.0, True),
    }  # fmt: skip
    table = pd.read_csv(folder / "summary.csv").groupby("class")["e2e_attainment"].unique()
    assert (table["rt"].tolist(), table["be"].tolist()) == ([0.0], [1.0])


def test_a_deadline_is_given_once(bros, tiny):
    result = bros("check", tiny, "--set", BAG, "--set", "workload.batch.slo={e2e_s: 4}")
    assert result.exit_code == 2
    assert result.stderr == (
        "--set workload.batch.slo.e2e_s: the bag's deadline_s says this already; give one\n"
    )
