"""What a worker of a sweep loads: each starts anew, so imports are its start-up time and memory."""

import subprocess
import sys


def test_workers_do_without_scipy_and_matplotlib():
    code = (
        "import sys, bros_sim.study.runner; "
        "print({'scipy', 'matplotlib'} & set(sys.modules) or 'none')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "none"
