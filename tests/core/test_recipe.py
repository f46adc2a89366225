"""The scheduler of docs/recipes.md: its package, made, installed and used as the recipe says."""

import os
import re
import shlex
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pandas as pd
import pytest
from simulations import UNEVEN, make_replica, make_request, run

from bros_sim.kv import KV_MANAGERS
from bros_sim.kv.paged import PagedKV
from bros_sim.kv.parameters import PagedParameters

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
RECIPE = (ROOT / "docs" / "recipes.md").read_text().partition("outside the repository")[2]
FILES = dict(re.findall(r"```\w+\n# (\S+)\n(.*?)```", RECIPE, re.DOTALL))
COMMANDS = re.search(r"```sh\n(.*?)```", RECIPE, re.DOTALL)[1].splitlines()
MODULE = "my_project/my_pkg/my_module.py"


def test_printed_scheduler_serves_the_shortest_first_and_loses_nothing():
    names: dict = {"__name__": "recipe"}
    exec(FILES[MODULE], names)
    kv = PagedKV(PagedParameters(num_gpu_blocks=12, block_size=4))
    policy = names["MyParameters"](max_num_seqs=3)
    requests = [make_request(i, prompt=30 - 4 * (i % 5), output=9) for i in range(12)]
    table = run(requests, make_replica(scheduler=policy, kv=kv, latency=UNEVEN))
    assert set(table.requests["status"]) == {"completed"}
    assert table.requests["num_preemptions"].sum() > 0
    assert kv.free_blocks == kv.usable_blocks
    first = table.requests.sort_values("first_scheduled_s").iloc[0]
    assert first["prompt_tokens"] == 14


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the recipe's files are written: what it prints, and the empty file that it names."""
    folder = tmp_path_factory.mktemp("recipe")
    assert "beside an empty `__init__.py`" in RECIPE
    for name, text in {**FILES, "my_project/my_pkg/__init__.py": ""}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture(scope="module")
def python(folder) -> Path:
    """An environment of its own, which sees bros-sim and what it depends on, but no package."""
    venv.create(folder / "environment")
    home = str(folder / "environment")
    site = sysconfig.get_path("purelib", "venv", {"base": home, "platbase": home})
    seen = dict.fromkeys([str(ROOT), *(sysconfig.get_path(n) for n in ("purelib", "platlib"))])
    (Path(site) / "dependencies.pth").write_text("\n".join(seen) + "\n")
    return Path(home) / "bin" / "python"


def follow(command: str, python: Path, folder: Path) -> str:
    """Run a line of the recipe in that environment; its output. The laws try few examples."""
    program, *words = shlex.split(command)
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    modules = {
        "pip": (base, "-m", "pip", "--disable-pip-version-check", "--python", python),
        "bros-sim": (python, "-m", "bros_sim"),
        "pytest": (python, "-m", "pytest", "-p", "no:cacheprovider", "--hypothesis-profile=few"),
    }
    line = [str(word) for word in (*modules[program], *words)]
    where = ROOT if program == "pytest" else folder
    hidden = ("PYTHON", "PYTEST", "PIP_", "VIRTUAL_ENV", "COVERAGE")
    env = {name: text for name, text in os.environ.items() if not name.startswith(hidden)}
    done = subprocess.run(line, check=False, cwd=where, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_recipe_works_from_package_to_laws(folder, python):
    said = {line.split()[0]: follow(line, python, folder) for line in COMMANDS}
    assert "Successfully installed my-pkg-0.1" in said["pip"]
    assert "Mine mirrors an example\n" in said["bros-sim"]
    table = pd.read_csv(folder / "results" / "mine" / "summary.csv")
    done = table[table["class"] == "all"].set_index("system")[["arrived", "completed"]]
    assert (done.loc["Mine"] == done.loc["vLLM"]).all()
    passed = int(re.search(r"(\d+) passed", said["pytest"])[1])
    assert passed >= 4 * len(KV_MANAGERS)
