"""The shipped experiments, `init`, `list` and `schema`."""

import json
from pathlib import Path

import pytest

from bros_sim.core.data_files import data_path
from bros_sim.report.listing import What

pytestmark = pytest.mark.slow

SHIPPED = sorted(data_path("experiments").glob("*.yaml"))
ROOT = data_path("experiments").parent
SHORT = ("--set", "duration_s=3", "--set", "warmup_s=0", "--set", "drain_s=20", "--set", "sweep={}")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_experiment_is_without_fault(bros, path):
    result = bros("check", path)
    assert result.exit_code == 0, result.stderr
    assert path.read_text().startswith(
        "# yaml-language-server: $schema=../experiment.schema.json\n"
    )
    assert f"bros-sim run experiments/{path.name}" in path.read_text()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_experiment_runs(bros, path):
    result = bros("run", path, *SHORT, "--set", "figures=[]")
    assert result.exit_code == 0, result.stderr


def test_the_schema_in_the_repository_is_current(bros):
    shown = bros("schema").stdout
    assert json.loads(shown)["required"] == ["duration_s", "workload", "name", "systems"]
    assert (ROOT / "experiment.schema.json").read_text() == shown, (
        "run: bros-sim schema > experiment.schema.json"
    )


def test_init_writes_an_experiment_that_runs(bros, tmp_path):
    result = bros("init", "demo")
    assert result.stdout == (
        "wrote demo/experiment.yaml; run it with: bros-sim run demo/experiment.yaml\n"
    )
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == [
        "experiment.schema.json", "experiment.yaml",
    ]  # fmt: skip
    first = (tmp_path / "demo" / "experiment.yaml").read_text().partition("\n")[0]
    assert first == "# yaml-language-server: $schema=experiment.schema.json"
    assert bros("run", "demo/experiment.yaml", *SHORT, "--set", "figures=[]").exit_code == 0


@pytest.mark.parametrize("what", list(What))
def test_everything_can_be_listed(bros, what):
    text = bros("list", what.value)
    assert text.exit_code == 0, text.output
    entries = json.loads(bros("list", what.value, "--format", "json").stdout)[what.value]
    assert entries
    assert all(entry["name"] in text.stdout for entry in entries)


def test_twins_and_trace_formats_are_listed_apart(bros):
    twins, formats = bros("list", "traces").stdout.split("trace formats that are read")
    assert twins.startswith("shipped twins (")
    assert "\nazure-conv: Azure LLM" in twins
    assert "canonical" not in twins
    assert "\nburstgpt: BurstGPT, 6 or 8 columns\n" in formats
    assert "azure-conv" not in formats


def test_a_listed_parameter_tells_type_default_and_meaning(bros):
    text = bros("list", "schedulers").stdout
    assert "vllm: " in text
    assert "    mirrors vLLM 0.33.0 V1 scheduler (fcfs) [exact]\n" in text
    assert "    max_num_seqs: int >= 1 = 256  most requests that run at a time\n" in text
    assert (
        "int >= 1 = 2048 on an A100 or below 70 GiB, else 8192, from 160 GiB 16384  token" in text
    )


def test_every_scheduler_says_what_it_mirrors_and_how_exactly(bros):
    listed = json.loads(bros("list", "schedulers", "--format", "json").stdout)["schedulers"]
    assert all(entry["mirrors"] for entry in listed)
    said = {entry["name"]: entry["fidelity"] for entry in listed}
    assert {name: said[name] for name in ("bros", "tgi", "vllm", "vllm_v0", "tempo_like")} == {
        "bros": "reconstructed", "tgi": "exact", "vllm": "exact", "vllm_v0": "simplified",
        "tempo_like": "like",
    }  # fmt: skip


def test_version(bros):
    assert bros("--version").stdout.startswith("bros-sim ")


def test_every_file_in_experiments_is_tested():
    assert {path.stem for path in SHIPPED} >= {
        "quickstart", "azure_replay", "slo_sweep", "load_sweep", "priority_vs_fcfs",
    }  # fmt: skip
    assert Path(ROOT / "experiments").is_dir()
