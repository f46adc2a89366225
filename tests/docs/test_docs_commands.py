"""Every command that a document shows runs, and does what the prose around it says.

A command is covered by the rule of its first word; one without a rule fails. `bros-sim` runs for
real, in a folder of its own, after the experiments that the document prints were saved in it.
"""

import importlib.util
import itertools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from doc_blocks import DOCUMENTS, ROOT, Command, blocks, commands, inline_code
from typer.testing import CliRunner

from bros_sim.cli import app
from bros_sim.config import parse
from bros_sim.experiment.schema import TABLES

SHORTER = {
    "run": [
        *("--set", "duration_s=4", "--set", "warmup_s=0", "--set", "drain_s=60"),
        *("--set", "sweep.seeds=1"),
    ],
    "capacity": [
        *("--set", "duration_s=4", "--set", "warmup_s=0", "--set", "drain_s=60"),
        *("--seeds", "3", "--precision", "1"),
    ],
    "tune": [
        *("--set", "duration_s=4", "--set", "warmup_s=0", "--set", "drain_s=60"),
        *("--seeds", "2", "--held-out", "3", "--trials", "2"),
    ],
}
"""Verb -> what is added so that a test need not wait: shorter runs with few seeds, nothing else."""
BY_PIP = {
    "pip install .": "tests/packaging installs the wheel that this makes",
    "pip install --no-deps --no-build-isolation ./my_project": "tests/core/test_recipe.py does it",
    "pip install '.[report]'": "the development environment has it; tests/report runs it",
    "pip install '.[explore]'": "the development environment has it; test_explore.py runs it",
    "pip install '.[opt]'": "the development environment has it; test_tune_verb.py runs it",
    "pip install duckdb": "test_results_sql.py runs what it is for",
    "pip install '.[gpu]'": "tests/calibration/test_measure.py runs where it is installed",
}
NEEDS = {("profile", "measure"): "torch", ("tune", "duel.yaml"): "optuna"}
"""Verb -> an extra that need not be installed; without it the verb must say so."""


def bros_sim(command: Command, environment: dict) -> None:
    verb, *words = command.words[1:]
    result = CliRunner().invoke(app, [verb, *words, *SHORTER.get(verb, [])])
    extra = NEEDS.get((verb, *words[:1]))
    if extra and importlib.util.find_spec(extra) is None:
        assert result.exit_code == 2
        assert "pip install" in result.stderr
        return
    assert result.exit_code == 0, f"{command}\n{result.output}"
    for option, name in itertools.pairwise(words):
        if option == "--plot":
            assert Path(name).stat().st_size, f"{command}: no {name}"
    for start, kept in PROMISES.items():
        if shlex.join(command.words).startswith(start):
            kept(result.stdout, command)


def make(command: Command, environment: dict) -> None:
    """The target is there; for `make demo` also that it runs what the README says."""
    line = ["make", "-n", *command.words[1:]]
    done = subprocess.run(
        line, check=False, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    if command.words[1] == "demo":
        assert "bros-sim run experiments/quickstart.yaml\n" in done.stdout


def pip(command: Command, environment: dict) -> None:
    assert shlex.join(command.words) in BY_PIP, command


def source(command: Command, environment: dict) -> None:
    assert command.words[1:] == (".venv/bin/activate",), command
    assert "BIN := .venv/bin\n" in (ROOT / "Makefile").read_text()


def pytest_(command: Command, environment: dict) -> None:
    """Its folders exist and its own options are those of tests/conftest.py."""
    for word in command.words[1:]:
        if word.startswith("--"):
            assert f'"{word.partition("=")[0]}"' in (ROOT / "tests" / "conftest.py").read_text(), (
                command
            )
        else:
            assert (ROOT / word).exists(), command


def export(command: Command, environment: dict) -> None:
    """The setting is the one with which a real cluster is tested."""
    name, _, value = command.words[1].partition("=")
    assert f'"{name}": "{value}"' in (ROOT / "tests" / "cli" / "test_dask.py").read_text()


def marimo(command: Command, environment: dict) -> None:
    """The notebook is there, and its option is one that it reads; test_explore.py runs it."""
    verb, notebook, *options = command.words[1:]
    text = (ROOT / notebook).read_text()
    assert verb in {"run", "edit"}, command
    assert options == [] or (options[:2] == ["--", "--results"] and '.get("results")' in text)


RULES = {
    "bros-sim": bros_sim,
    "make": make,
    "marimo": marimo,
    "pip": pip,
    "source": source,
    "pytest": pytest_,
    "export": export,
}


def _identical(stdout: str, command: Command) -> None:
    claims = set(re.findall(r"(\d+)/\1 identical", command.document.read_text()))
    assert {stdout.partition("/")[0]} == claims, f"{command}: the document says {claims}"
    assert re.fullmatch(r"(\d+)/\1 identical\n", stdout)


def _first(stdout: str, command: Command) -> None:
    table = pd.read_csv("results/first/summary.csv")
    assert {"cluster.replicas", "workload.chat.arrivals.rate_rps"} <= set(table)
    assert set(table["seed"]) == {0}
    assert Path("results/first/figures/attainment-rate_rps.png").exists()


def _quickstart(stdout: str, command: Command) -> None:
    table, capacity = stdout.split("\nRequests/s (")
    assert table.count("\n vLLM FCFS") == 10
    assert capacity.count("\n vLLM FCFS") == 1
    assert "vLLM priority mirrors vLLM" in stdout
    assert Path("results/quickstart/figures/attainment-rate_rps.png").exists()


def _init(stdout: str, command: Command) -> None:
    assert "#" in Path("demo/experiment.yaml").read_text()
    assert json.loads(Path("demo/experiment.schema.json").read_text())["properties"]


def _everything(stdout: str, command: Command) -> None:
    for table in TABLES.values():
        assert all(f"\n{kind}: " in stdout for kind in table)


def _told(stdout: str, command: Command) -> None:
    """The story in the document is the one that the command tells."""
    told = "\n".join(line.rstrip() for line in stdout.strip().splitlines()) + "\n"
    assert told in [block.text for block in blocks(command.document)]


def _written(stdout: str, command: Command) -> None:
    out = command.words[4 if command.words[2] == "convert" else 3]
    assert Path(out).stat().st_size, command


def _imported(stdout: str, command: Command) -> None:
    """The table in the document has the columns that are written."""
    header = Path(command.words[command.words.index("--out") + 1]).read_text().partition("\n")[0]
    documented = command.document.read_text()
    if header.startswith("prefill_tokens"):
        assert all(f"`{column}`" in documented for column in header.split(","))


def _compared(stdout: str, command: Command) -> None:
    assert "Mean TTFT, real-time (ms, lower is better):" in stdout
    assert "Against vLLM, over the same seed:" in stdout  # of the shortened run


PROMISES = {
    "bros-sim capacity": lambda stdout, command: stdout.index(
        " that keeps slo_attainment[rt] >= 0.9"
    ),
    "bros-sim check": lambda stdout, command: stdout.index("no faults"),
    "bros-sim compare": _compared,
    "bros-sim conformance vllm": _identical,
    "bros-sim explain": _told,
    "bros-sim init demo": _init,
    "bros-sim list": _everything,
    "bros-sim profile import": _imported,
    "bros-sim profile check": lambda stdout, command: stdout.index("profiles pass"),
    "bros-sim profile derive": lambda stdout, command: stdout.index("Derived from data sheet"),
    "bros-sim profile fit ": lambda stdout, command: stdout.index("Fitted to measured steps"),
    "bros-sim profile fit-runs": lambda stdout, command: stdout.index("terms fitted to 2 run(s)"),
    "bros-sim profile list": lambda stdout, command: stdout.index("Kernel-calibrated"),
    "bros-sim run demo/experiment.yaml": _quickstart,
    "bros-sim run experiments/quickstart.yaml": _quickstart,
    "bros-sim run first.yaml": _first,
    "bros-sim trace convert": _written,
    "bros-sim trace synth": _written,
    "bros-sim tune": lambda stdout, command: stdout.index("which played no part"),
    "bros-sim validate": lambda stdout, command: stdout.index("TTFT mean"),
}
"""Start of a command -> what must have come of it, besides exit code 0."""


def save_experiments(document: Path, folder: Path) -> None:
    """Save the experiments that a document prints in full under their names."""
    for block in blocks(document):
        if block.language == "yaml" and "name" in (data := parse(block.text, "block").data):
            (folder / f"{data['name']}.yaml").write_text(block.text)


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_commands_run(document, folder, environment, own_scheduler):
    save_experiments(document, folder)
    for command in commands(document):
        assert command.words[0] in RULES, f"no rule for {command}"
        RULES[command.words[0]](command, environment)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_commands_in_the_prose_exist(document, environment):
    """Code spans often name a verb without its arguments: `--help` finds unknown ones."""
    for line, code in inline_code(document):
        program = code.partition(" ")[0]
        if program == code or program not in RULES:
            continue
        command = Command(document, line, tuple(shlex.split(code)))
        if program == "bros-sim":
            for verb in alternatives(command.words[1:]):
                result = CliRunner().invoke(app, [*verb, "--help"])
                assert result.exit_code == 0, f"{command}\n{result.output}"
        else:
            RULES[program](command, environment)


def alternatives(words: tuple[str, ...]) -> list[list[str]]:
    """`trace list|stats` is short for two commands."""
    found: list[list[str]] = [[]]
    for word in words:
        choices = word.split("|") if re.fullmatch(r"[a-z|]+", word) else [word]
        found = [[*before, choice] for before in found for choice in choices]
    return found


def test_the_documents_show_commands():
    """The extraction finds what a reader sees."""
    shown = [str(command) for document in DOCUMENTS for command in commands(document)]
    assert any(text.startswith("README.md:") and "init demo" in text for text in shown)
    assert any("docs/invariants.md" in text and "conformance vllm" in text for text in shown)
    assert any("docs/workloads.md" in text and "--arrivals" in text for text in shown)
    assert any("docs/speed.md" in text and "make bench" in text for text in shown)
    assert not any("docs/latency.md" in text and "factor" in text for text in shown)


@pytest.mark.slow
def test_what_make_bench_runs_still_measures():
    bench = ROOT / "benchmarks" / "bench.py"
    case = json.dumps([30, 7.5, "", "", "{scheduler: {kind: bros}, kv: {kind: bidirectional}}"])
    line = [sys.executable, str(bench), "--one", case]
    done = subprocess.run(line, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["requests"] > 10
    documented = (ROOT / "docs" / "speed.md").read_text()
    for case in re.findall(r'^    \("([^"]+)", [\d_]+,', bench.read_text(), re.MULTILINE):
        assert f"| {case} |" in documented
