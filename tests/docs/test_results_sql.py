"""The DuckDB statement of docs/results.md finds every point of every experiment."""

import pandas as pd
import pytest
from doc_blocks import ROOT, blocks
from typer.testing import CliRunner

from bros_sim.cli import app

duckdb = pytest.importorskip("duckdb")
EXPERIMENT = """
name: %s
duration_s: 3
cluster: {profile: a100-80gb/llama-3-8b-tp1}
workload:
  a: {class: rt, arrivals: {kind: poisson, rate_rps: 5}, lengths: {kind: fixed, prompt: 9, output: 9}}
systems:
  FCFS: {scheduler: {kind: vllm}, kv: {kind: paged}}
  Priority: {scheduler: {kind: vllm, policy: priority}, kv: {kind: paged}}
sweep: {grid: {workload.a.%s}, seeds: 2}
"""  # noqa: E501


def test_the_statement_sees_all_points(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, grid in (("one", "arrivals.rate_rps: [2, 5]"), ("two", "slo: [{ttft_s: 1}]")):
        (tmp_path / "experiment.yaml").write_text(EXPERIMENT % (name, grid))
        result = CliRunner().invoke(app, ["run", "experiment.yaml", "--workers", "1"])
        assert result.exit_code == 0, result.output
    (block,) = (b for b in blocks(ROOT / "docs" / "results.md") if b.language == "python")
    statement = block.text.partition('"""')[2].partition('"""')[0]
    found = duckdb.sql(statement).df()
    requests = pd.concat(pd.read_parquet(path) for path in tmp_path.rglob("requests.parquet"))
    assert found["system"].tolist() == ["FCFS", "Priority"]
    assert found["requests"].sum() == len(requests) > 20
    assert set(found["class"]) == {"rt"}
    exec(block.text)
    assert "p99_ttft_s" in capsys.readouterr().out
