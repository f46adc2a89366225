"""A run as a Chrome trace: exact slices, spans that nest, a bounded file, and what is refused."""

import gzip
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from trace_format import read
from typer.testing import CliRunner

from bros_sim.cli import app
from bros_sim.config import parse
from bros_sim.experiment import load
from bros_sim.experiment.build import read_point, run_point
from bros_sim.metrics import request_metrics
from bros_sim.timeline import Span, chrome_trace
from bros_sim.timeline.iterations import iterations, timing_of

EXPERIMENT = """
name: lanes
seed: 3
duration_s: 6
drain_s: 60
cluster: {replicas: 2, profile: a100-80gb/llama-3-8b-tp1, num_gpu_blocks: 500}
workload:
  chat:
    class: rt
    arrivals: {kind: poisson, rate_rps: 12}
    lengths: {kind: fixed, prompt: 600, output: 60}
    slo: {ttft_s: 0.5, tpot_s: 0.1}
  batch:
    class: be
    arrivals: {kind: closed_loop, clients: 32}
    lengths: {kind: uniform, prompt: [512, 1024], output: [32, 128]}
systems:
  BROS: {scheduler: {kind: bros}, kv: {kind: bidirectional}}
"""


@pytest.fixture(scope="module")
def spec():
    (point,) = load(parse(EXPERIMENT, "lanes.yaml")).points
    return read_point(point.resolved)


@pytest.fixture(scope="module")
def run(spec):
    """The tables of a run with copies and preemptions, requests as they are stored."""
    tables = run_point(spec)
    assert tables.steps[["tokens_to_cpu", "tokens_to_gpu"]].sum().min() > 0
    return tables, request_metrics(tables)


@pytest.fixture(scope="module")
def events(run, spec):
    tables, requests = run
    return read(chrome_trace(requests, tables.steps, timing_of(spec)).content)


def of(events, phase, **values):
    return [e for e in events if e["ph"] == phase and values.items() <= e.items()]


def test_every_iteration_ends_when_it_ended(run, spec):
    """The stored stretches give back what the simulator knew, bit for bit."""
    tables, _ = run
    assert (tables.steps["repeat"] > 1).any()
    each = iterations(tables.steps, timing_of(spec))
    replica = tables.steps["replica"].to_numpy()[each["step"]]
    for number, ends in enumerate(tables.iteration_end_s):
        mine = each[replica == number]
        if (mine["count"] == 1).all():
            np.testing.assert_array_equal(mine["end_s"], ends)
        else:
            assert set(mine["end_s"]) <= set(ends)
        assert mine["count"].sum() == ends.size
    assert (each["count"] == 1).mean() > 0.9


def test_scattered_iterations_too():
    """The noise of an iteration goes by its number in the replica."""
    noisy = EXPERIMENT.replace("duration_s: 6", "duration_s: 2") + "latency: {noise: true}\n"
    (point,) = load(parse(noisy, "lanes.yaml")).points
    spec = read_point(point.resolved)
    tables = run_point(spec)
    each = iterations(tables.steps, timing_of(spec))
    joined = (tables.steps["repeat"] > 1) & (tables.steps["tokens_to_cpu"] == 0)
    assert joined.sum() > 10
    assert (each.loc[each["step"].isin(np.flatnonzero(joined)), "count"] == 1).mean() > 0.9


def test_a_stretch_that_cannot_be_timed_again_is_one_slice(run):
    tables, requests = run
    each = iterations(tables.steps, None)
    assert len(each) == len(tables.steps)
    np.testing.assert_array_equal(each["count"], tables.steps["repeat"])
    made = chrome_trace(requests, tables.steps, None)
    assert made.whole == (tables.steps["repeat"] > 1).sum()
    joined = [e for e in of(read(made.content), "X") if "iterations" in e["args"] and e["tid"] == 1]
    assert len(joined) == made.whole
    assert all(e["name"].endswith(f"{e['args']['iterations']} iterations") for e in joined)


def test_slices_say_what_was_computed(run, events):
    tables, _ = run
    mine = of(events, "X", tid=1)
    assert {e["name"].partition(",")[0] for e in mine} >= {"prefill", "decode", "mixed"}
    assert sum(e["args"]["prefill_tokens"] for e in mine) == tables.steps["prefill_tokens"].sum()
    for replica, ends in enumerate(tables.iteration_end_s):
        said = [e["args"] for e in mine if e["pid"] == replica]
        next_number = [args["iteration"] + args.get("iterations", 1) for args in said]
        assert [args["iteration"] for args in said] == [0, *next_number[:-1]]
        assert next_number[-1] == ends.size
    for e in mine:
        kind = {(True, True): "mixed", (True, False): "prefill", (False, True): "decode"}
        decodes = e["args"]["decodes_rt"] + e["args"]["decodes_be"]
        assert e["name"].startswith(kind[e["args"]["prefill_tokens"] > 0, decodes > 0])


def test_copies_have_lanes_of_their_own(run, events, spec):
    tables, _ = run
    for column, lane in (("tokens_to_cpu", 2), ("tokens_to_gpu", 3)):
        mine = of(events, "X", tid=lane)
        assert sum(e["args"]["tokens"] for e in mine) == tables.steps[column].sum()
    first = of(events, "X", tid=2)[0]
    link, size = timing_of(spec).link, timing_of(spec).token_bytes
    expected = link.to_cpu_s(first["args"]["tokens"] * size)
    assert "iterations" not in first["args"]
    assert first["dur"] == pytest.approx(1e6 * expected, abs=1)


def test_counters_give_back_the_steps(run, events):
    tables, _ = run
    steps = tables.steps[tables.steps["replica"] == 1]
    mine = of(events, "C", pid=1, name="waiting requests")
    times = np.array([e["ts"] for e in mine])
    at = np.searchsorted(times, np.round(1e6 * steps["start_s"].to_numpy()), side="right") - 1
    for column, key in (("waiting_rt", "rt"), ("waiting_be", "be")):
        values = np.array([e["args"][key] for e in mine])
        np.testing.assert_array_equal(values[at], steps[column])
    for name in ("running requests", "waiting requests", "KV tokens"):
        assert of(events, "C", pid=1, name=name)[-1]["args"] == {"rt": 0, "be": 0}


def test_requests_are_spans_with_phases(run, events):
    _, requests = run
    row = requests[requests["status"] == "completed"].iloc[5]
    begins = [e for e in of(events, "b") if e["args"]["request"] == row["request_id"]]
    times = {e["name"]: e["ts"] / 1e6 for e in begins}
    assert times == {
        f"{row['class']} request": pytest.approx(row["arrival_s"], abs=1e-6),
        "queue": pytest.approx(row["arrival_s"], abs=1e-6),
        "prefill": pytest.approx(row["first_scheduled_s"], abs=1e-6),
        "decode": pytest.approx(row["first_token_s"], abs=1e-6),
    }
    assert len(of(events, "b", name="rt request")) == (requests["class"] == "rt").sum()


def test_fates_other_than_completion():
    nan = float("nan")
    columns = [
        "request_id", "class", "replica", "status", "arrival_s", "first_scheduled_s",
        "first_token_s", "last_token_s",
    ]  # fmt: skip
    rows = [
        ("a", "rt", 0, "rejected", 1.0, nan, nan, nan),
        ("b", "rt", 0, "unfinished", 2.0, 3.0, nan, nan),
        ("c", "be", 0, "rejected", 2.0, 3.0, 4.0, 5.0),
    ]
    requests = pd.DataFrame(rows, columns=columns).assign(
        prompt_tokens=9, output_tokens=9, num_preemptions=0
    )
    steps = pd.DataFrame([[0, 0.0, 8.0, *[0] * 14]], columns=STEPS).assign(repeat=1)
    events = read(chrome_trace(requests, steps, None).content)
    spans = {}
    for event in of(events, "b") + of(events, "e"):
        if event["name"].endswith("request"):
            spans.setdefault(event["id2"]["local"], []).append(event["ts"] / 1e6)
    assert list(spans.values()) == [[1.0, 1.0], [2.0, 8.0], [2.0, 5.0]]


STEPS = [
    "replica", "start_s", "end_s", "repeat", "prefill_tokens", "decode_jobs", "decode_jobs_rt",
    "kv_tokens", "kv_tokens_rt", "free_blocks", "running_rt", "running_be", "waiting_rt",
    "waiting_be", "tokens_to_cpu", "tokens_to_gpu", "extrapolated",
]  # fmt: skip


def test_a_window_shows_that_part_only(run, spec):
    tables, requests = run
    made = chrome_trace(requests, tables.steps, timing_of(spec), span=Span(2.0, 3.0))
    events = read(made.content)
    slices = of(events, "X", tid=1)
    assert all(e["ts"] + e["dur"] >= 2e6 and e["ts"] < 3e6 for e in slices)
    assert all(2e6 <= e["ts"] <= 3e6 for e in of(events, "b") + of(events, "e"))
    all_iterations = sum(ends.size for ends in tables.iteration_end_s)
    assert 0 < len(slices) < all_iterations / 2
    assert made.cut_s is None


def test_a_file_that_would_be_too_large_ends_early(run, spec):
    tables, requests = run
    whole = chrome_trace(requests, tables.steps, timing_of(spec))
    cut = chrome_trace(requests, tables.steps, timing_of(spec), max_events=1000)
    assert whole.cut_s is None
    assert 200 < cut.shown < 1400 < whole.shown
    events = read(cut.content)
    assert max(e["ts"] for e in events if e["ph"] in "be") <= 1e6 * cut.cut_s + 1


def test_the_same_run_gives_the_same_bytes(run, spec):
    tables, requests = run
    first, second = (chrome_trace(requests, tables.steps, timing_of(spec)) for _ in range(2))
    assert first.content == second.content
    assert first.content[4:8] == bytes(4)  # no time of writing in the head of the gzip file


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("timeline")
    path = folder / "lanes.yaml"
    path.write_text(EXPERIMENT.replace("duration_s: 6", "duration_s: 2"))
    line = ["run", str(path), "--workers", "1", "--out", str(folder / "results")]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.output
    return folder / "results"


@pytest.fixture
def stored(finished, tmp_path, monkeypatch):
    """A copy of a finished run in the current folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, tmp_path / "results")
    return tmp_path / "results" / "lanes"


def call(*args):
    return CliRunner().invoke(app, ["timeline", "results/lanes", *args])


def test_the_verb_writes_a_file(stored, monkeypatch):
    result = call("--window", "0.5:1")
    assert result.exit_code == 0, result.output
    assert result.stdout == "results/lanes/timelines/point-1-0.5-to-1.json.gz\n"
    content = (stored / "timelines" / "point-1-0.5-to-1.json.gz").read_bytes()
    assert read(content)
    assert json.loads(gzip.decompress(content))["otherData"]["point"] == "system=BROS, seed=3"

    monkeypatch.setattr("bros_sim.timeline.trace_file.MAX_EVENTS", 500)
    cut = call()
    assert cut.exit_code == 0, cut.output
    assert "warning: the file ends at" in cut.stderr
    assert "--window" in cut.stderr


def test_a_profile_that_is_gone_leaves_stretches_whole(stored):
    (path,) = stored.glob("points/*/resolved.yaml")
    path.write_text(path.read_text().replace("llama-3-8b-tp1", "gone"))
    result = call()
    assert result.exit_code == 0, result.output
    assert "stay together" in result.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--window", "3:1"], "--window 3:1: should be A:B"),
        (["--window", "1"], "--window 1: should be A:B"),
        (["--window", "nan:2"], "--window nan:2: should be A:B"),
        (["--window", "500:600"], "nothing happens in --window 500:600"),
        (["--point", "2"], "no such point. There are:"),
    ],
)
def test_bad_input_writes_nothing(stored, args, words):
    result = call(*args)
    assert result.exit_code == 2
    assert words in result.stderr
    assert not (stored / "timelines").exists()


def test_a_damaged_point_is_said_to_be(stored):
    (path,) = stored.glob("points/*/steps.parquet")
    path.write_bytes(b"no")
    result = call()
    assert result.exit_code == 2
    assert "damaged, run it again" in result.stderr
