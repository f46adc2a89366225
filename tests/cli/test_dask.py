"""A sweep on a real Dask cluster: a scheduler and two workers, each a process, joined over TCP."""

import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

from tests.cli.conftest import EXPERIMENT

pytestmark = pytest.mark.slow

PLAIN = EXPERIMENT[: EXPERIMENT.index("figures:")]
BROS = [sys.executable, "-c", "from bros_sim.cli import main; main()"]
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
DEADLY = """
import os
from dataclasses import dataclass
from bros_sim.schedulers.vllm import VllmScheduler
from bros_sim.schedulers.vllm_parameters import VllmParameters

@dataclass(frozen=True)
class Deadly(VllmParameters):
    '''Kills its process.'''

    def make(self, world):
        return DeadlyScheduler(self)

class DeadlyScheduler(VllmScheduler):
    def plan(self, view):
        os.kill(os.getpid(), 9)
"""


def found_from(folder):
    """PYTHONPATH with the folder, and what is on it here."""
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Address of a scheduler with two workers; their Python finds modules in `folder`."""
    folder = tmp_path_factory.mktemp("dask")
    (folder / "deadly_policy.py").write_text(DEADLY)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    settings = {
        "PYTHONPATH": found_from(folder),
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "2",
        "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0",
    }
    options = {"env": os.environ | settings, "cwd": folder, **QUIET}
    dask = [sys.executable, "-m", "distributed.cli"]
    here = ["--host", "127.0.0.1", "--no-dashboard"]
    parts = [[f"{dask[2]}.dask_scheduler", "--port", str(port), *here]]
    parts += [[f"{dask[2]}.dask_worker", address, "--nthreads", "1", *here]] * 2
    started = [subprocess.Popen([*dask[:2], *part], **options) for part in parts]
    yield address, folder
    for process in reversed(started):
        process.terminate()
        process.wait(20)


def run(folder, text, *arguments):
    (folder / "tiny.yaml").write_text(text)
    shutil.rmtree(folder / "results", ignore_errors=True)
    command = [*BROS, "run", "tiny.yaml", *arguments]
    environment = os.environ | {"PYTHONPATH": found_from(folder)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def stored(folder):
    """Every file of every point."""
    files = (folder / "results" / "tiny" / "points").rglob("*")
    return {path.relative_to(folder): path.read_bytes() for path in files if path.is_file()}


def wait_for_workers(folder, address, count):
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        code = f"from distributed import Client; print(len(Client('{address}').ncores()))"
        found = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        if found.stdout.strip() == str(count):
            return
        time.sleep(0.5)
    raise AssertionError(found.stderr)


def test_on_a_cluster_as_here(cluster):
    address, folder = cluster
    wait_for_workers(folder, address, 2)
    width = "until: {half_width: {'mean_ttft_ms[rt]': 0.01 %}, max_seeds: 6}"
    asked = ("--set", f"sweep={{seeds: 5, {width}}}")
    result = run(folder, PLAIN, *asked, "--dask", address)
    assert result.returncode == 0, result.stderr
    there = stored(folder)
    assert len({path.parts[3] for path in there}) == 2 * 6
    assert run(folder, PLAIN, *asked, "--workers", "1").returncode == 0
    assert there == stored(folder)


def test_who_kills_its_worker_fails_alone(cluster):
    address, folder = cluster
    text = PLAIN.replace("{kind: vllm, policy: priority}", "{kind: 'deadly_policy:Deadly'}")
    result = run(folder, text, "--dask", address, "--set", "sweep.seeds=1")
    assert result.returncode == 1
    assert result.stderr.count("it killed its worker process") == 2, result.stderr
    assert len({path.parts[3] for path in stored(folder)}) == 2


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "localhost:8786",
            "--dask localhost:8786: write the scheduler's address as tcp://HOST:PORT",
        ),
        ("tcp://127.0.0.1:9", "--dask tcp://127.0.0.1:9: no scheduler answers: [Errno 111]"),
        ("tcp://[::1]:9", "--dask tcp://[::1]:9: no scheduler answers: [Errno"),
        ("tcp://127.0.0.1:99999", "--dask tcp://127.0.0.1:99999: no scheduler answers: "),
    ],
)
def test_a_wrong_address_is_bad_input(bros, tiny, address, message):
    result = bros("run", tiny, "--dask", address)
    assert result.exit_code == 2
    assert result.stderr.startswith(message), result.stderr
    assert result.stderr.count("\n") == 1


def test_a_cluster_has_its_own_workers(bros, tiny):
    result = bros("run", tiny, "--dask", "tcp://127.0.0.1:9", "--workers", 2)
    assert result.exit_code == 2
    assert result.stderr == "--workers: the Dask cluster of --dask has its own\n"
