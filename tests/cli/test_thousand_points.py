"""A sweep of 1,000 points, killed up to twenty times: nothing lost, nothing run twice."""

import os
import random
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from tests.cli.conftest import EXPERIMENT

SWEEP = EXPERIMENT[: EXPERIMENT.index("figures:")].replace("duration_s: 5", "duration_s: 2")
POINTS, KILLS, LEFT = 1000, 20, 400
RUN = [
    sys.executable, "-m", "bros_sim", "run", "tiny.yaml", "--workers", "2",
    "--set", f"sweep.seeds={POINTS // 4}",
]  # fmt: skip
FILES = {"requests.parquet", "resolved.yaml", "steps.parquet", "summary.json"}


def stored(folder):
    """Complete points, with the time at which each was written."""
    whole = [path for path in folder.glob("points/*") if not path.name.startswith(".")]
    assert all({file.name for file in path.iterdir()} == FILES for path in whole)
    return {path.name: (path / "summary.json").stat().st_mtime_ns for path in whole}


def killed(folder, more, seconds):
    """Run until ``more`` points are stored and that time has passed, then kill the process."""
    before = len(stored(folder / "results" / "tiny"))
    with subprocess.Popen(RUN, cwd=folder, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and len(stored(folder / "results" / "tiny")) < before + more:
            time.sleep(0.05)
        time.sleep(seconds)
        assert process.poll() is None, "it ended before it could be killed"
        os.kill(process.pid, signal.SIGKILL)


@pytest.mark.long
def test_a_thousand_points_and_twenty_kills(tmp_path):
    (tmp_path / "tiny.yaml").write_text(SWEEP)
    results, moments, before = tmp_path / "results" / "tiny", random.Random(1), {}
    for kill in range(KILLS):
        if len(before) > POINTS - LEFT:  # on a fast machine the next run might end by itself
            assert kill > 2
            break
        killed(tmp_path, moments.choice([0, 1, 10, 60]), moments.uniform(0, 1))
        time.sleep(0.5)  # workers notice that their parent is gone
        now = stored(results)
        assert now.items() >= before.items()
        before = now
    assert 0 < len(before) < POINTS
    end = subprocess.run(RUN, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert f"{len(before)} points already in results/tiny" in end.stderr
    assert stored(results).items() >= before.items()
    summary = pd.read_csv(results / "summary.csv")
    assert len(summary) == 3 * POINTS
    assert summary["error"].isna().all()
    again = subprocess.run(RUN, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert again.stdout == end.stdout
    report = [sys.executable, "-m", "bros_sim", "report", "results/tiny"]
    subprocess.run(report, cwd=tmp_path, check=True, capture_output=True)
    assert (results / "report.html").stat().st_size < 3e6
