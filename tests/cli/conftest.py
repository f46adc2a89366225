"""A small experiment and a way to run the command line in this process."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bros_sim.cli import app

EXPERIMENT = """\
name: tiny
seed: 1
duration_s: 5
drain_s: 60
cluster: {replicas: 1, profile: a100-80gb/llama-3-8b-tp1}
workload:
  chat:
    class: rt
    arrivals: {kind: poisson, rate_rps: 4}
    lengths: {kind: fixed, prompt: 64, output: 8}
    slo: {ttft_s: 0.5, tpot_s: 0.1}
  batch:
    class: be
    arrivals: {kind: closed_loop, clients: 2}
    lengths: {kind: uniform, prompt: [16, 32], output: [4, 8]}
systems:
  FCFS: {scheduler: {kind: vllm}, kv: {kind: paged}}
  Priority: {scheduler: {kind: vllm, policy: priority}, kv: {kind: paged}}
sweep:
  grid: {workload.chat.arrivals.rate_rps: [2, 4]}
figures:
  - {plot: attainment, x: workload.chat.arrivals.rate_rps}
"""


@pytest.fixture
def bros(tmp_path, monkeypatch):
    """Run a verb in an empty folder; the result has exit_code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("bros_sim.study.study.cores", lambda: 1)

    def call(*args, **options):
        return CliRunner().invoke(app, [str(arg) for arg in args], **options)

    return call


@pytest.fixture
def tiny(tmp_path) -> Path:
    """The small experiment as a file."""
    path = tmp_path / "tiny.yaml"
    path.write_text(EXPERIMENT)
    return path
