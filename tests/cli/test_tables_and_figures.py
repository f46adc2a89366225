"""What tables call their columns, and which figure files are left."""

from typer.testing import CliRunner

from bros_sim.cli import app
from bros_sim.report.text_tables import rows_table

EXPERIMENT = """
name: two
duration_s: 3
cluster: {profile: a100-80gb/llama-3-8b-tp1}
workload:
  a: {class: rt, arrivals: {kind: poisson, rate_rps: 2}, lengths: {kind: fixed, prompt: 9, output: 9}}
  b: {class: be, arrivals: {kind: poisson, rate_rps: 2}, lengths: {kind: fixed, prompt: 9, output: 9}}
systems: {vLLM: {scheduler: {kind: vllm}, kv: {kind: paged}}}
sweep: {grid: {workload.a.arrivals.rate_rps: [1, 2], workload.b.arrivals.rate_rps: [3]}}
figures:
  - {plot: line, x: workload.a.arrivals.rate_rps, y: mean_ttft_ms}
"""  # noqa: E501


def test_columns_of_two_streams_have_two_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.yaml").write_text(EXPERIMENT)
    result = CliRunner().invoke(app, ["run", "two.yaml", "--workers", "1"])
    assert result.exit_code == 0, result.output
    assert "a.arrivals.rate_rps" in result.stdout
    assert "b.arrivals.rate_rps" in result.stdout


def test_a_list_of_rows_has_short_names_too():
    table = rows_table([{"workload.a.kind": "x", "workload.b.kind": "y", "seed": 1}])
    assert table.headings == ["a.kind", "b.kind", "seed"]


def test_figures_that_are_no_longer_drawn_go(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.yaml").write_text(EXPERIMENT)
    folder = tmp_path / "results" / "two" / "figures"
    folder.mkdir(parents=True)
    for name in ("attainment-rate_rps.png", "timeline.svg", "mine.png", "attainment.txt"):
        (folder / name).touch()
    result = CliRunner().invoke(app, ["run", "two.yaml", "--workers", "1"])
    assert result.exit_code == 0, result.output
    drawn = {f"line-mean_ttft_ms-a.arrivals.rate_rps.{kind}" for kind in ("png", "svg")}
    assert {path.name for path in folder.iterdir()} == {"mine.png", "attainment.txt", *drawn}
