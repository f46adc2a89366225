"""Frozen summaries of three tiny points. They notice a change; they prove nothing.

Renew with `pytest tests/golden --update-golden` and give the reason in the commit.
"""

import json
from pathlib import Path

import pytest

from bros_sim.config import parse
from bros_sim.experiment import load
from bros_sim.experiment.build import run_point
from bros_sim.metrics import request_metrics, summarise

HERE = Path(__file__).parent

CHAT_AND_BATCH = """
name: golden
seed: 3
duration_s: 20
cluster: {{replicas: {replicas}, profile: a100-80gb/llama-3-8b-tp1{blocks}}}
workload:
  chat:
    class: rt
    arrivals: {{kind: gamma, rate_rps: 5, cv: 3}}
    lengths: {{kind: empirical, name: sharegpt}}
    slo: {{ttft_s: 0.5, tpot_s: 0.1}}
  batch:
    class: be
    arrivals: {{kind: closed_loop, clients: 16}}
    lengths: {{kind: uniform, prompt: [512, 1024], output: [32, 128]}}
systems:
  one: {{scheduler: {{kind: vllm, policy: {policy}}}, kv: {{kind: paged}}}}
"""
POINTS = {
    "fcfs": CHAT_AND_BATCH.format(replicas=1, blocks="", policy="fcfs"),
    "priority_tight": CHAT_AND_BATCH.format(
        replicas=1, blocks=", num_gpu_blocks: 700", policy="priority"
    ),
    "two_replicas": CHAT_AND_BATCH.format(replicas=2, blocks="", policy="fcfs"),
}


@pytest.mark.parametrize("name", POINTS)
def test_summary_is_as_frozen(name: str, request: pytest.FixtureRequest):
    (point,) = load(parse(POINTS[name], f"{name}.yaml")).points
    tables = run_point(point.spec)
    summary = summarise(tables, request_metrics(tables))
    file = HERE / f"{name}.json"
    if request.config.getoption("--update-golden"):
        file.write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n")
    frozen = json.loads(file.read_text())
    assert summary.keys() == frozen.keys()
    for group, values in frozen.items():
        assert _of_kind(str, summary[group]) == _of_kind(str, values), group
        numbers = _of_kind((int, float), values)
        got = _of_kind((int, float), summary[group])
        assert got == pytest.approx(numbers, rel=1e-9, nan_ok=True), group
    if name == "priority_tight":
        assert summary["all"]["num_preemptions"] > 0


def _of_kind(kind, values: dict) -> dict:
    return {key: value for key, value in values.items() if isinstance(value, kind)}
