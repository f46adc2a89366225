"""A new kind is one file and one line of a table, with the import that the line needs.

One scheduler, KV manager, router, arrival process, length model, cap and trace format are added to
a copy of the package; nothing else is touched, and an experiment runs on them.
"""

import difflib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]


class Addition(NamedTuple):
    """A file, the table that it is entered into, and the line."""

    file: str
    text: str
    table: str
    opens: str
    line: str


SCHEDULER = '''"""vLLM, last come first served."""
from dataclasses import dataclass
from bros_sim.schedulers.ordered.scheduler import OrderedParameters, OrderedScheduler

@dataclass(frozen=True)
class LifoParameters(OrderedParameters):
    """Last come, first served."""
    mirrors = "nothing"

    def make(self, world):
        return LifoScheduler(self)

class LifoScheduler(OrderedScheduler):
    def rank(self, seq, now):
        return (-seq.id,)
'''
KV = '''"""Half of the blocks."""
from dataclasses import dataclass
from bros_sim.kv.paged import PagedKV
from bros_sim.kv.parameters import PagedParameters

@dataclass(frozen=True)
class HalfParameters(PagedParameters):
    """A paged KV cache that does not use half of its blocks."""

    def make(self, world):
        return HalfKV(self)

class HalfKV(PagedKV):
    @property
    def free_blocks(self):
        return max(super().free_blocks - self.num_gpu_blocks // 2, 0)
'''
ROUTER = '''"""The last replica."""
from dataclasses import dataclass
from bros_sim.cluster.routers.base import RouterParameters

@dataclass(frozen=True)
class LastParameters(RouterParameters):
    """Always the last replica."""

    def make(self, world):
        return Last()

class Last:
    def route(self, request, replicas):
        return len(replicas) - 1
'''
ARRIVALS = '''"""Pairs of requests."""
from dataclasses import dataclass
import numpy as np
from bros_sim.workload.arrivals import OpenArrivals

@dataclass(frozen=True)
class Pairs(OpenArrivals):
    """Two requests at once, every gap_s."""
    gap_s: float

    def times(self, duration_s, rng):
        return np.repeat(np.arange(0.0, duration_s, self.gap_s), 2)
'''
LENGTHS = '''"""Short prompts."""
from dataclasses import dataclass
import numpy as np

@dataclass(frozen=True)
class Short:
    """Two tokens each."""

    def sample(self, n, rng):
        return np.full(n, 2, np.int64), np.full(n, 2, np.int64)
'''
CAP = '''"""Twice the output."""
from dataclasses import dataclass

@dataclass(frozen=True)
class Twice:
    """Clients state twice what they need."""

    def caps(self, outputs):
        return 2 * outputs
'''
TRACE = '''"""Traces of this test."""
from bros_sim.workload.readers.base import Rows
from bros_sim.workload.readers.cells import tokens
from bros_sim.workload.readers.columns import read_csv

def read_mine(source, _):
    """Seconds, prompt and output."""
    table = read_csv(source, {"second": tokens, "in": tokens, "out": tokens})
    return Rows(table.lines, table["second"].astype(float), table["in"], table["out"])
'''
ADDITIONS = {
    "scheduler": Addition(
        "schedulers/lifo.py", SCHEDULER, "schedulers/__init__.py", "SCHEDULERS: ",
        '    "lifo": LifoParameters,',
    ),
    "KV manager": Addition(
        "kv/half.py", KV, "kv/__init__.py", "KV_MANAGERS: ", '    "half": HalfParameters,'
    ),
    "router": Addition(
        "cluster/routers/last.py", ROUTER, "cluster/routers/__init__.py", "ROUTERS: ",
        '    "last": LastParameters,',
    ),
    "arrival process": Addition(
        "workload/pairs.py", ARRIVALS, "workload/__init__.py", "ARRIVALS: ", '    "pairs": Pairs,'
    ),
    "length model": Addition(
        "workload/short.py", LENGTHS, "workload/__init__.py", "LENGTHS: ", '    "short": Short,'
    ),
    "cap": Addition(
        "workload/twice.py", CAP, "workload/__init__.py", "MAX_TOKENS: ", '    "twice": Twice,'
    ),
    "trace format": Addition(
        "workload/readers/mine.py", TRACE, "workload/readers/__init__.py", "_READERS = ",
        '    Reader("mine", "of this test", "csv", frozenset({"second", "in", "out"}), read_mine),',
    ),
}  # fmt: skip
NAMES = {"scheduler": "LifoParameters", "KV manager": "HalfParameters", "router": "LastParameters",
         "arrival process": "Pairs", "length model": "Short", "cap": "Twice",
         "trace format": "read_mine"}  # fmt: skip
EXPERIMENT = """
name: mine
duration_s: 10
cluster: {replicas: 2, router: {kind: last}}
workload:
  chat:
    class: rt
    arrivals: {kind: pairs, gap_s: 1.0}
    lengths: {kind: short}
    max_tokens: {kind: twice}
  batch: {class: be, arrivals: {kind: replay, path: mine.csv}}
systems:
  Mine: {scheduler: {kind: lifo}, kv: {kind: half}}
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A copy of the package with all that it ships, to which every kind has been added."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("bros_sim", "profiles", "traces"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for what, added in ADDITIONS.items():
        (folder / "bros_sim" / added.file).write_text(added.text)
        table = folder / "bros_sim" / added.table
        lines = table.read_text().splitlines()
        at = next(n for n, line in enumerate(lines) if line.startswith(added.opens))
        lines.insert(at + 1, added.line)
        first = next(n for n, line in enumerate(lines) if line.startswith("from "))
        module = added.file.removesuffix(".py").replace("/", ".")
        lines.insert(first, f"from bros_sim.{module} import {NAMES[what]}")
        table.write_text("\n".join(lines) + "\n")
    return folder


def _bros(package: Path, *words: str) -> str:
    command = [sys.executable, "-m", "bros_sim", *words]
    env = os.environ | {"PYTHONPATH": str(package)}
    done = subprocess.run(
        command, cwd=package, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_experiment_runs_on_what_was_added(package):
    (package / "mine.yaml").write_text(EXPERIMENT)
    (package / "mine.csv").write_text("second,in,out\n0,3,4\n1,5,2\n")
    _bros(package, "run", "mine.yaml")
    table = pd.read_csv(package / "results" / "mine" / "summary.csv")
    assert table.set_index("class")["completed"].to_dict() == {"all": 22, "rt": 20, "be": 2}
    (folder,) = (package / "results" / "mine" / "points").iterdir()
    requests = pd.read_parquet(folder / "requests.parquet")
    assert set(requests["replica"]) == {1}


def test_what_was_added_is_listed_with_its_parameters_and_in_the_schema(package):
    listed = json.loads(_bros(package, "list", "--format", "json"))
    found = {
        group: {entry["name"]: entry for entry in entries} for group, entries in listed.items()
    }
    assert found["kv"]["half"]["parameters"] == found["kv"]["paged"]["parameters"]
    assert found["schedulers"]["lifo"]["fidelity"] == "exact"
    assert found["arrivals"]["pairs"]["parameters"][0]["name"] == "gap_s"
    assert {"last"} <= found["routers"].keys()
    assert '"const": "lifo"' in _bros(package, "schema")


def test_each_is_one_new_file_and_one_line_with_its_import(package):
    changed = []
    for path in sorted((package / "bros_sim").rglob("*.py")):
        name = path.relative_to(package / "bros_sim")
        original = ROOT / "bros_sim" / name
        if original.exists():
            lines = original.read_text().splitlines(), path.read_text().splitlines()
            touched = [x for x in difflib.ndiff(*lines) if x[0] in "+-"]
            changed += touched
            assert all(x[0] == "+" for x in touched)
        else:
            assert str(name) in {added.file for added in ADDITIONS.values()}
    assert len(changed) == 2 * len(ADDITIONS)
