"""Worker processes that die in the middle: whoever is to blame fails, and nobody else."""

import multiprocessing
import os
import signal
import time

import pytest

from bros_sim.study.workers import on_workers
from tests.cli.test_run import ONE_RATE

pytestmark = pytest.mark.slow


def square(number: int) -> int:
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return number * number


def outcomes(tasks, workers):
    return sorted(on_workers(square, tasks, workers), key=lambda pair: tasks.index(pair[0]))


@pytest.mark.parametrize(("workers", "deadly"), [(1, [7]), (2, [0, 19]), (3, [3, 4, 11])])
def test_who_kills_its_worker_fails_alone(workers, deadly):
    tasks = [-n - 1 if n in deadly else n for n in range(20)]
    expected = [(n, None if n < 0 else n * n) for n in tasks]
    assert outcomes(tasks, workers) == expected


def test_a_worker_killed_from_outside_costs_nobody_a_result():
    found = []
    for pair in on_workers(square, list(range(30)), 2):
        found.append(pair)
        if len(found) == 5:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
    assert sorted(found) == [(n, n * n) for n in range(30)]


def test_stopping_early_ends_the_workers():
    running = on_workers(square, list(range(1000)), 2)
    next(running)
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    running.close()
    deadline = time.monotonic() + 600
    while any(worker.is_alive() for worker in workers):  # the pool's own thread may reap them
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_stopping_early_leaves_other_processes_alone():
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(3600,))
    other.start()
    running = on_workers(square, list(range(1000)), 2)
    next(running)
    running.close()
    assert other.is_alive()
    other.kill()
    other.join()


def who_works(_: int) -> int:
    time.sleep(0.02)
    return os.getpid()


def test_a_worker_starts_once_and_takes_task_after_task():
    workers = [pid for _, pid in on_workers(who_works, list(range(40)), 2)]
    assert len(workers) == 40
    assert len(set(workers)) <= 2


COUNTED = """
from dataclasses import dataclass
from bros_sim.schedulers.vllm_parameters import VllmParameters

@dataclass(frozen=True)
class Counted(VllmParameters):
    '''Notes each time that it is checked.'''

    def __post_init__(self):
        with open("made.txt", "a") as file:
            file.write("x")
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_point_is_checked_once_and_not_by_every_worker(bros, tiny, tmp_path, workers):
    (tmp_path / f"counted_{workers}.py").write_text(COUNTED)
    mine = f"{{kind: 'counted_{workers}:Counted'}}"
    tiny.write_text(ONE_RATE.replace("{kind: vllm, policy: priority}", mine))
    assert bros("check", tiny).exit_code == 0
    made = (tmp_path / "made.txt").read_text()
    result = bros("run", tiny, "--workers", workers, "--set", "sweep.seeds=3")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "made.txt").read_text() == 2 * made
