"""`bros-sim run`: what it prints and writes, resume, failures, and the same bytes every time."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from bros_sim.config import parse
from bros_sim.core.errors import RunStopped
from bros_sim.experiment import load
from bros_sim.report.text_tables import warnings
from bros_sim.schedulers.vllm import VllmScheduler
from bros_sim.study.runner import Outcome, run_points
from bros_sim.study.store import Store, open_results
from tests.cli.conftest import EXPERIMENT

pytestmark = pytest.mark.slow

POINT_FILES = ["requests.parquet", "resolved.yaml", "steps.parquet", "summary.json"]
PLAIN = EXPERIMENT[: EXPERIMENT.index("figures:")]
"""Without figures, where they are not what is tested: drawing takes longer than running."""
ONE_RATE = PLAIN.replace("[2, 4]", "[4]")
MAIN = [sys.executable, "-c", "from bros_sim.cli import main; main()"]

FRAGILE = '''
from dataclasses import dataclass
from bros_sim.schedulers.vllm import VllmScheduler
from bros_sim.schedulers.vllm_parameters import VllmParameters

@dataclass(frozen=True)
class Fragile(VllmParameters):
    """Fails in the middle of a run."""

    def make(self, world):
        return FragileScheduler(self)

class FragileScheduler(VllmScheduler):
    def plan(self, view):
        if view.now > 1:
            raise RuntimeError("out of\\nideas")
        return super().plan(view)
'''


def contents(folder):
    """Every result file but the provenance, which holds the command line."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if path.name != "provenance.json"
    }


def points(folder):
    return sorted(path.name for path in (folder / "points").iterdir())


def test_a_run_writes_the_layout_and_prints_a_table(bros, tiny, tmp_path):
    result = bros("run", tiny)
    assert result.exit_code == 0, result.output
    assert "4/4 points" in result.stderr
    assert "SLO met %" in result.stdout
    assert "Priority mirrors vLLM" in result.stdout
    folder = tmp_path / "results" / "tiny"
    assert sorted(path.name for path in folder.iterdir()) == [
        "capacity.csv", "figures", "means.csv", "points", "provenance.json", "summary.csv",
    ]  # fmt: skip
    assert sorted(path.name for path in (folder / "figures").iterdir()) == [
        "attainment-rate_rps.png", "attainment-rate_rps.svg",
    ]  # fmt: skip
    for key in points(folder):
        assert sorted(path.name for path in (folder / "points" / key).iterdir()) == POINT_FILES


def test_summary_is_tidy(bros, tiny, tmp_path):
    tiny.write_text(PLAIN)
    bros("run", tiny)
    table = pd.read_csv(tmp_path / "results" / "tiny" / "summary.csv")
    assert list(table)[:4] == ["system", "workload.chat.arrivals.rate_rps", "seed", "class"]
    assert list(table["class"]) == ["rt", "be", "all"] * 4
    assert list(table["system"]) == ["FCFS"] * 6 + ["Priority"] * 6
    assert table["slo_attainment"].dropna().between(0, 1).all()
    assert table["error"].isna().all()


def test_means_have_intervals_over_the_seeds(bros, tiny, tmp_path):
    assert "±" not in bros("run", tiny).stdout.partition("Requests/s")[0]
    result = bros("run", tiny, "--set", "sweep.seeds=3")
    folder = tmp_path / "results" / "tiny"
    cell = "system == 'FCFS' and `class` == 'rt' and `workload.chat.arrivals.rate_rps` == 4"
    sample = pd.read_csv(folder / "summary.csv").query(cell)["mean_ttft_ms"]
    (row,) = (
        pd.read_csv(folder / "means.csv")
        .query(f"{cell} and metric == 'mean_ttft_ms'")
        .to_dict("records")
    )
    half = stats.t.ppf(0.975, 2) * stats.sem(sample)
    assert (row["mean"], row["half_width"], row["seeds"]) == pytest.approx((sample.mean(), half, 3))
    assert f"{sample.mean():.3g} ± {half:.3g}" in result.stdout
    assert "means over 3 seeds, ± half of the 95 % interval" in result.stdout
    assert "* a run at the loads around it is too short" in result.stdout


def test_provenance_names_software_inputs_and_points(bros, tiny, tmp_path):
    tiny.write_text(PLAIN)
    bros("run", tiny)
    told = json.loads((tmp_path / "results" / "tiny" / "provenance.json").read_text())
    assert set(told["software"]) >= {"bros-sim", "python", "numpy"}
    assert len(told["inputs"]["a100-80gb/llama-3-8b-tp1"]) == 64
    assert told["experiment"]["name"] == "tiny"
    assert [point["labels"]["system"] for point in told["points"]] == ["FCFS"] * 2 + [
        "Priority"
    ] * 2


def test_the_same_bytes_for_any_number_of_workers_and_any_folder(bros, tiny, tmp_path):
    assert bros("run", tiny, "--out", "a", "--workers", 1).exit_code == 0
    other = tmp_path / "elsewhere" / "copy.yaml"
    other.parent.mkdir()
    other.write_text(EXPERIMENT)
    assert bros("run", other, "--out", "b", "--workers", 2).exit_code == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_complete_points_never_run_again(bros, tiny, tmp_path):
    tiny.write_text(PLAIN)
    bros("run", tiny)
    folder = tmp_path / "results" / "tiny"
    before = {path: path.stat().st_mtime_ns for path in folder.glob("points/*")}
    result = bros("run", tiny)
    assert "4 points already in results/tiny" in result.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.glob("points/*")} == before
    bros("run", tiny, "--overwrite")
    assert {path: path.stat().st_mtime_ns for path in folder.glob("points/*")} != before
    assert len(points(folder)) == 4


def test_damaged_points_are_reported_and_run_again(bros, tiny, tmp_path):
    tiny.write_text(PLAIN)
    bros("run", tiny)
    folder = tmp_path / "results" / "tiny"
    whole = contents(folder)
    first, second, third, fourth = (folder / "points" / key for key in points(folder))
    (first / "steps.parquet").unlink()
    (second / "requests.parquet").write_bytes(b"PAR1 half")
    (third / "summary.json").write_text("{")
    (fourth / "resolved.yaml").write_text("seed: 1")
    result = bros("run", tiny)
    assert result.exit_code == 0
    for path, why in {
        first: "steps.parquet is missing",
        second: f"requests.parquet is not {len(whole[f'points/{second.name}/requests.parquet'])} b",
        third: "summary.json is not JSON",
        fourth: "resolved.yaml is not ",
    }.items():
        assert f"/{path.name}: damaged ({why}" in result.stderr
    assert contents(folder) == whole


def test_what_is_wrong_with_a_point_is_said_in_words(bros, tiny, tmp_path):
    tiny.write_text(ONE_RATE)
    bros("run", tiny)
    folder = next((tmp_path / "results" / "tiny" / "points").iterdir())
    summary = folder / "summary.json"
    content = json.loads(summary.read_text())
    for text, why in {
        "[]": "summary.json is not a mapping",
        "{}": "summary.json has no 'summary'",
        json.dumps(content | {"files": 3}): "summary.json does not list the files of a point",
        json.dumps(content | {"files": {}}): "steps.parquet is not a Parquet file",
        None: "summary.json is missing",
    }.items():
        (folder / "steps.parquet").write_text("no Parquet")
        summary.unlink() if text is None else summary.write_text(text)
        result = bros("run", tiny)
        assert f"/{folder.name}: damaged ({why}), runs again" in result.stderr
    summary.unlink()
    result = bros("plot", "results/tiny")
    assert result.exit_code == 2
    assert f"/{folder.name}: not a complete point: summary.json is missing" in result.stderr


def test_help_shows_every_word(bros):
    assert "results/NAME" in bros("plot", "--help").stdout


def test_what_a_killed_run_left_is_removed_and_what_others_write_is_not(bros, tiny, tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    folder = tmp_path / "results" / "tiny" / "points"
    host = socket.gethostname()
    dead = folder / f".partial-{host}~{child.pid}~ab-key"
    alive = [folder / f".partial-{host}~{os.getpid()}~ab-key", folder / ".partial-other~1~ab-key"]
    tiny.write_text(ONE_RATE)
    for path in (dead, *alive):
        path.mkdir(parents=True)
        (path / "requests.parquet").write_bytes(b"half")
    assert bros("run", tiny).exit_code == 0
    assert not dead.exists()
    assert all(path.exists() for path in alive)


def test_a_failed_point_is_a_row_until_it_is_run_again(bros, tiny, tmp_path, monkeypatch):
    (tmp_path / "fragile_policy.py").write_text(FRAGILE)
    mine = "{kind: 'fragile_policy:Fragile'}"
    tiny.write_text(EXPERIMENT.replace("{kind: vllm, policy: priority}", mine))
    result = bros("run", tiny, "--workers", 2)
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
    assert (
        "failed: system=Priority, workload.chat.arrivals.rate_rps=2, seed=1:"
        " RuntimeError: out of ideas" in result.stderr
    )
    folder = tmp_path / "results" / "tiny"
    table = pd.read_csv(folder / "summary.csv")
    assert list(table["error"].dropna()) == ["RuntimeError: out of ideas"] * 2
    assert table["arrived"].notna().sum() == 6
    assert len(points(folder)) == 2
    assert (folder / "figures" / "attainment-rate_rps.png").exists()
    again = bros("run", tiny)
    assert again.exit_code == 1
    assert "2 points failed before: --retry-failed runs them again" in again.stderr
    assert "failed: system=Priority, workload.chat.arrivals.rate_rps=2" in again.stderr
    assert pd.read_csv(folder / "summary.csv")["error"].notna().sum() == 2
    (reason, _) = sorted((folder / "failed").iterdir())
    assert "fragile_policy.py" in json.loads(reason.read_text())["details"]
    monkeypatch.setattr(sys.modules["fragile_policy"].FragileScheduler, "plan", VllmScheduler.plan)
    assert bros("run", tiny, "--retry-failed").exit_code == 0
    assert pd.read_csv(folder / "summary.csv")["error"].notna().sum() == 0
    assert not list((folder / "failed").iterdir())


def test_a_figure_of_failed_points_alone_is_a_warning(bros, tiny, tmp_path):
    (tmp_path / "picky_policy.py").write_text(FRAGILE)
    text = EXPERIMENT.replace("{kind: vllm, policy: priority}", "{kind: 'picky_policy:Fragile'}")
    rate = "workload.chat.arrivals.rate_rps"
    figures = (
        "  - {plot: timeline, where: {system: Priority, RATE: 2}}\n"
        "  - {plot: line, x: RATE, y: p999_ttft_ms}\n"
    )
    tiny.write_text(text + figures.replace("RATE", rate))
    result = bros("run", tiny)
    assert result.exit_code == 1
    assert [line for line in result.stderr.splitlines() if "figure" in line] == [
        "warning: figure timeline: there is nothing to draw: no such point succeeded",
        "warning: figure line-p999_ttft_ms-rate_rps: there is nothing to draw: no point has"
        " p999_ttft_ms",
    ]
    assert "SLO met %" in result.stdout
    assert len(list((tmp_path / "results" / "tiny" / "figures").iterdir())) == 2
    again = bros("plot", "results/tiny")
    assert again.exit_code == 0
    assert again.stderr.count("there is nothing to draw") == 2


def test_a_point_that_kills_its_worker_fails_alone(bros, tiny, tmp_path):
    dies = FRAGILE.replace('raise RuntimeError("out of\\nideas")', "__import__('os')._exit(9)")
    assert "_exit" in dies
    (tmp_path / "deadly_policy.py").write_text(dies)
    mine = "{kind: 'deadly_policy:Fragile'}"
    tiny.write_text(ONE_RATE.replace("{kind: vllm, policy: priority}", mine))
    result = bros("run", tiny, "--workers", 2, "--set", "sweep.seeds=3")
    assert result.exit_code == 1
    assert result.stderr.count("it killed its worker process, twice (out of memory?)") == 3
    assert "Traceback" not in result.stderr
    assert len(points(tmp_path / "results" / "tiny")) == 3, "the others are there"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot mount a small file system here: {error}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.long), 2])
def test_a_full_disk_stops_the_sweep_and_costs_no_point(tiny, tmp_path, small_disk, workers):
    tiny.write_text(PLAIN)
    command = [*MAIN, "run", str(tiny), "--set", "sweep.seeds=40"]
    options = ["--workers", str(workers), "--out", str(small_disk)]
    how = {"cwd": tmp_path, "capture_output": True, "text": True}
    full = subprocess.run([*command, *options], check=False, **how)
    assert full.returncode == 1
    assert "No space left on device" in full.stderr
    assert "Traceback" not in full.stderr
    kept = list((small_disk / "tiny" / "points").glob("[0-9a-f]*"))
    assert f"{len(kept)} points are kept" in full.stderr
    assert 0 < len(kept) < 160
    assert all(sorted(p.name for p in folder.iterdir()) == POINT_FILES for folder in kept)
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    again = subprocess.run([*command, *options], check=False, **how)
    assert again.returncode == 0, again.stderr
    assert f"{len(kept)} points already in" in again.stderr


def test_points_that_other_workers_stored_meanwhile_are_counted(tmp_path):
    def one_has_no_room(run, tasks):
        try:
            yield tasks[0], Outcome(tasks[0].key, "the disk is full", no_room=True)
        finally:
            run(tasks[1])

    store = Store(tmp_path / "tiny")
    store.open()
    points = load(parse(PLAIN, "tiny.yaml")).points
    with pytest.raises(RunStopped, match="the disk is full; 1 points are kept"):
        run_points(points, store, one_has_no_room, lambda *_: None)


def test_requests_that_come_to_nothing_are_pointed_out(bros, tiny):
    tiny.write_text(PLAIN)
    result = bros("run", tiny, "--set", "workload.chat.lengths.prompt=100000")
    assert "warning: FCFS: 18 of 300" in result.stdout
    words = " ".join(result.stdout.split())
    assert re.search(
        r"18 of \d+ requests rejected: 18 longer than the model length of 8,192", words
    )
    for path in Path("results/tiny/points").glob("*/summary.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"refusals": None}))
    earlier = warnings(open_results("results/tiny")[0])
    assert earlier[0].endswith(" rejected: they could never fit, or the policy turned them away")
    result = bros("run", tiny, "--set", "drain_s=0", "--set", "workload.chat.lengths.output=5000")
    assert "requests unfinished: drain_s was over; they count as bad" in result.stdout
    result = bros("run", tiny, "--set", "workload.batch.lengths.output=[20000, 20000]",
                  "--set", "workload.batch.lengths.prompt=[100000, 100000]",
                  "--set", "cluster.max_model_len=200000")  # fmt: skip
    assert "outside the range that the latency model was fitted on" in result.stdout


def test_a_dry_run_lists_the_points_and_writes_nothing(bros, tiny, tmp_path):
    result = bros("run", tiny, "--dry-run")
    assert result.exit_code == 0
    assert result.stdout.count("missing") == 4
    assert not (tmp_path / "results").exists()
    listed = json.loads(bros("run", tiny, "--dry-run", "--format", "json").stdout)
    assert [point["seed"] for point in listed["points"]] == [1] * 4
    assert listed["points"][0]["resolved"]["system"]["scheduler"]["max_num_seqs"] == 256


def test_json_on_stdout_and_nothing_else(bros, tiny):
    tiny.write_text(PLAIN)
    rows = json.loads(bros("run", tiny, "--format", "json").stdout)["rows"]
    assert len(rows) == 12
    assert rows[0]["class"] == "rt"
    assert rows[0]["saturation"] == "too short"


def test_check_counts_the_points(bros, tiny, tmp_path):
    result = bros("check", tiny, "--set", "sweep.seeds=3")
    assert result.stdout == f"{tiny}: tiny: 12 points, no faults\n"
    assert not (tmp_path / "results").exists()


def test_figures_can_be_drawn_again(bros, tiny, tmp_path):
    bros("run", tiny)
    figures = tmp_path / "results" / "tiny" / "figures"
    before = contents(figures)
    for path in figures.iterdir():
        path.unlink()
    result = bros("plot", "results/tiny")
    assert result.stdout.split() == [
        "results/tiny/figures/attainment-rate_rps.png",
        "results/tiny/figures/attainment-rate_rps.svg",
    ]
    assert contents(figures) == before


# A shell that starts the tests in the background has its children ignore Ctrl-C.
HEEDS_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_keeps_what_is_done_and_says_how_to_resume(tiny, tmp_path, workers):
    tiny.write_text(PLAIN.replace("duration_s: 5", "duration_s: 60"))
    python, option, code = MAIN
    main = [python, option, HEEDS_CTRL_C + code]
    command = [*main, "run", str(tiny), "--workers", workers, "--set", "sweep.seeds=20"]
    run = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    done = tmp_path / "results" / "tiny" / "points"
    deadline = time.monotonic() + 600
    while not list(done.glob("[0-9a-f]*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    _, stderr = run.communicate(timeout=600)
    assert run.returncode == 130
    assert "Traceback" not in stderr
    assert f"resume with: bros-sim run {tiny}" in stderr
    kept = list(done.glob("[0-9a-f]*"))
    assert 0 < len(kept) < 80
    assert all(sorted(p.name for p in folder.iterdir()) == POINT_FILES for folder in kept)


def test_a_closed_pipe_ends_quietly(tmp_path):
    command = f"{sys.executable} -c 'from bros_sim.cli import main; main()' list metrics"
    for reader in ("true", "head -n 1"):
        result = subprocess.run(
            f"{command} | {reader}", shell=True, capture_output=True, text=True, check=False
        )
        assert result.stderr == ""
    assert result.stdout.startswith("arrived: ")


def test_help_imports_nothing_heavy_and_little_in_all():
    heavy = "{'numpy', 'pandas', 'matplotlib', 'scipy', 'pydantic', 'simpy'}"
    run_help = "from typer.testing import CliRunner; CliRunner().invoke(cli.app, ['--help'])"
    count = f"print(sorted({heavy} & set(sys.modules)), len(sys.modules))"
    code = f"import sys; import bros_sim.cli as cli; {run_help}; {count}"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found, modules = shown.stdout.rsplit(maxsplit=1)
    assert found == "[]"
    assert int(modules) < 500
