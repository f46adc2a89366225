"""`make related`: the document is made from result files alone, and says what they hold."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from bros_sim.cli import app

ROOT = Path(__file__).parents[2]
SHORT = {
    "relay_attention": (
        "workload.chat.arrivals.count=20",
        "sweep.grid={workload.chat.system_prompt_tokens: [64, 2048]}",
    ),
    "refrag": (
        "duration_s=2",
        "sweep.grid={workload.rag.lengths.prompt: [16512],"
        " workload.rag.refrag.compression: [1, 16, 32]}",
    ),
    "kunserve_like": ("duration_s=66", "sweep.grid={workload.chat.arrivals.scale: [1.1]}"),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    for name, changes in SHORT.items():
        options = [word for change in (*changes, "figures=[]") for word in ("--set", change)]
        options += ["--set", "sweep.seeds=1", "--out", str(folder), "--workers", "1"]
        run = CliRunner().invoke(app, ["run", str(ROOT / f"experiments/{name}.yaml"), *options])
        assert run.exit_code == 0, run.output
    return folder


@pytest.mark.slow
def test_the_document_tells_the_results_beside_the_claims(results):
    document = results / "related.md"
    command = [sys.executable, "-m", "benchmarks.related", results, document]
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True)
    text = document.read_text()
    assert "nan" not in text
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings == ["## RelayAttention", "## REFRAG", "## KunServe"]
    for claim in ("(2.35)", "(16.53)", "(32.99)", "6.78 times", '"up to 72.2 times"'):
        assert claim in text
    table = pd.read_csv(results / "refrag" / "summary.csv").query("`class` == 'rt'")
    ttft = table.set_index("workload.rag.refrag.compression")["mean_ttft_ms"]
    assert f"| **{ttft[1] / ttft[16]:.2f}** (16.53) |" in text
