"""The paper's experiments and the document that is made of their results.

No number of the paper is expected of ours: only that everything is there and says what it is.
"""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from bros_sim.cli import app
from bros_sim.core.data_files import data_path
from bros_sim.latency.linear import Linear
from bros_sim.profiles.profile import load_profile

pytestmark = pytest.mark.slow

ROOT = data_path("experiments").parent
FILES = sorted((ROOT / "experiments" / "paper").glob("*.yaml"))
SHORT = ("duration_s=6", "warmup_s=0", "drain_s=20", "sweep.seeds=2", "figures=[]")
RATE = "workload.chat.arrivals.rate_rps"
SECTIONS = [
    "The paper's table, and ours",
    "At the highest load that BROS serves",
    "Figures",
    "The bidirectional KV cache, ablated",
    "RT alone",
    "Where we differ, and the most likely reason",
    "All points",
]


def bros_sim(*arguments: object):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_every_experiment_of_the_paper_is_there():
    models, data = ("opt-13b", "opt-30b", "llama-3-70b"), ("sharegpt", "lmsys")
    main = {f"{model}-{lengths}" for model in models for lengths in data}
    assert {path.stem for path in FILES} == main | {"ablation", "pure-rt"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_experiment_of_the_paper_is_without_fault(path):
    result = bros_sim("check", path)
    assert result.exit_code == 0, result.output
    text = path.read_text()
    assert text.startswith("# yaml-language-server: $schema=../../experiment.schema.json\n")
    assert f"bros-sim run experiments/paper/{path.name}" in text
    for stated in ("duration_s: 600", "ttft_s: 0.4, tpot_s: 0.2", "seeds: 5"):
        assert stated in text


def grid_of(path: Path) -> str:
    profiles = "cluster.profile: [a100-40gb/opt-13b-tp2], " if path.stem == "pure-rt" else ""
    return f"sweep.grid={{{profiles}{RATE}: [3]}}"


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    for path in FILES:
        changes = [part for change in (*SHORT, grid_of(path)) for part in ("--set", change)]
        run = bros_sim("run", path, "--out", folder, "--workers", 1, *changes)
        assert run.exit_code == 0, run.output
    return folder


@pytest.fixture(scope="module")
def written(results) -> Path:
    command = [sys.executable, "-m", "benchmarks.paper", results, results / "docs" / "paper.md"]
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True)
    return results / "docs"


def test_the_document_has_every_section(written):
    lines = (written / "paper.md").read_text().splitlines()
    assert [line[3:] for line in lines if line.startswith("## ")] == SECTIONS
    assert not any("{" in line or "nan" in line for line in lines)


def test_all_numbers_of_the_paper_stand_in_the_document(written):
    text = (written / "paper.md").read_text()
    for number in (
        "-74.2 %", "-54.3 %", "-69.6 %", "-25.8 %", "36.38x", "11.75x", "21.42x", "14.23x",
        "1.73x", "1.47x", "2.62x", "2.28x", "-11.3 %", "-8.8 %", "-17.7 %", "-15.2 %",
        "1.23x", "1.63x", "-29.36 %", "1.08x",
    ):  # fmt: skip
        assert number in text


def test_a_table_shows_what_the_results_hold(results, written):
    table = pd.read_csv(results / "paper-opt-13b-sharegpt" / "summary.csv")
    rt = table[(table["class"] == "rt") & (table["system"] == "vLLM 0.2-0.4")]
    share = f"{100 * rt['ttft_attainment'].mean():.1f}"
    text = (written / "paper.md").read_text().partition("### OPT-13B, 2 x A100-40GB, ShareGPT")[2]
    (row,) = [line for line in text.partition("###")[0].splitlines() if "| vLLM 0.2-0.4 |" in line]
    assert row.split(" | ")[2].startswith(share)


def test_a_figure_for_each_model(written):
    figures = sorted(path.name for path in (written / "figures").iterdir())
    assert figures == ["paper-llama-3-70b.png", "paper-opt-13b.png", "paper-opt-30b.png"]
    assert all((written / "figures" / name).stat().st_size > 20_000 for name in figures)


def test_opt_30b_lies_between_the_published_fits_and_states_its_factor():
    small, middle, big = (
        load_profile(name)
        for name in ("a100-80gb/opt-13b-tp4", "a100-40gb/opt-30b-tp4", "a100-80gb/opt-66b-tp4")
    )
    assert middle.label.startswith("Derived")
    assert middle.kv.num_gpu_blocks == pytest.approx(4000, rel=0.02)
    by_size = share(small.model.parameters, middle.model.parameters, big.model.parameters)
    by_kv = share(small.kv_bytes_per_token, middle.kv_bytes_per_token, big.kv_bytes_per_token)
    low, new, high = (Linear.from_profile(profile) for profile in (small, middle, big))
    for key, at in (("prefill_ms", by_size), ("prefill_per_token2_ms", by_kv)):
        between = getattr(low, key) + at * (getattr(high, key) - getattr(low, key))
        assert getattr(new, key) == pytest.approx(between, rel=1e-4)
    slower = 2039 / 1555
    weights_ms = 2 * middle.model.parameters / 4 / 1e6 * (1 / 1555 - 1 / 2039)
    for name in ("decode", "large_batch"):
        a, b, c = (getattr(model, name) for model in (low, new, high))
        const = a.const_ms + by_size * (c.const_ms - a.const_ms) + weights_ms
        kv = a.per_kv_token_ms + by_kv * (c.per_kv_token_ms - a.per_kv_token_ms)
        assert b.const_ms == pytest.approx(const, rel=1e-4)
        assert b.per_kv_token_ms == pytest.approx(slower * kv, rel=1e-4)


def share(low: float, middle: float, high: float) -> float:
    return (middle - low) / (high - low)


def test_llama_3_70b_on_8_gpus_is_llama_2_70b_but_for_the_vocabulary():
    two, three = (load_profile(f"a100-80gb/llama-{n}-70b-tp8") for n in (2, 3))
    assert three.label.startswith("Derived")
    assert three.kv.num_gpu_blocks == pytest.approx(88_000, rel=0.005)
    same = ("layers", "hidden", "heads", "kv_heads", "head_dim", "intermediate")
    assert [getattr(two.model, k) for k in same] == [getattr(three.model, k) for k in same]
    assert two.models.hybrid.tokens == three.models.hybrid.tokens
    assert two.models.hybrid.decode_attention == three.models.hybrid.decode_attention
