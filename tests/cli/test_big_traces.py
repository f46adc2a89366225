"""A trace is read once by a process, however many points replay it; anew once it has changed."""

import pickle
from dataclasses import replace

import pytest

from bros_sim.workload.lengths import Empirical
from bros_sim.workload.readers import TRACES
from bros_sim.workload.readers.base import Policy
from bros_sim.workload.replay import Replay
from bros_sim.workload.traces import read_trace

TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
    f"2024-05-10 00:00:{second:02}.000,{100 + second},{1 + second}\n" for second in range(40)
)
EXPERIMENT = """\
name: replayed
duration_s: 5
cluster: {replicas: 1, profile: a100-80gb/llama-3-8b-tp1}
workload:
  chat: {class: rt, arrivals: {kind: replay, path: trace.csv}, slo: {ttft_s: 1}}
  batch:
    class: be
    arrivals: {kind: closed_loop, clients: 1}
    lengths: {kind: empirical, path: trace.csv}
systems:
  FCFS: {scheduler: {kind: vllm}, kv: {kind: paged}}
sweep:
  grid: {workload.chat.arrivals.rate_scale: [1, 2, 3]}
  seeds: 4
"""


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text(TRACE)
    return path


@pytest.fixture
def reads(monkeypatch):
    """The files whose lines were read, in turn."""
    azure, files = TRACES["azure"], []

    def counted(source, window):
        files.append(source.path.name)
        return azure.read(source, window)

    monkeypatch.setitem(TRACES, "azure", replace(azure, read=counted))
    return files


def test_twelve_points_read_a_trace_once(bros, trace, tmp_path, reads):
    (tmp_path / "e.yaml").write_text(EXPERIMENT)
    result = bros("run", "e.yaml")
    assert result.exit_code == 0, result.output
    assert "12/12 points" in result.stderr
    assert reads == ["trace.csv"]


def test_a_changed_trace_is_read_again(trace):
    before = read_trace(trace)
    assert read_trace(trace) is before
    trace.write_text(TRACE.replace(",100,", ",7,"))
    assert read_trace(trace).prompt_tokens[0] == 7
    assert read_trace(trace, Policy(start_s=1)).prompt_tokens[0] == 101


def test_points_cannot_change_what_they_share(trace):
    with pytest.raises(ValueError, match="read-only"):
        read_trace(trace).prompt_tokens[0] = 1


@pytest.mark.parametrize(
    "component", [Replay, lambda path: Empirical(path=path)], ids=["replay", "empirical"]
)
def test_a_trace_does_not_travel_with_what_replays_it(trace, component):
    made = component(trace)
    fresh = pickle.dumps(made)
    assert made.content is not None
    assert pickle.dumps(made) == fresh
    assert pickle.loads(fresh) == made
    assert len(pickle.loads(fresh).content) == 40
