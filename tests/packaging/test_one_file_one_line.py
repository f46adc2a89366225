"""A new kind is one file and one line of a table, with the import that the line needs.

One scheduler, KV manager, router, arrival process, length model, cap, trace format, metric and
figure are added to a copy of the package, and a column of requests with the line that fills it;
nothing else is touched, and an experiment runs on them.
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
METRIC = '''"""How long prompts are."""

def longest_prompt(sample):
    """The longest prompt of the window."""
    return int(sample.window["prompt_tokens"].max(initial=0))
'''
FIGURE = '''"""Arrivals over time."""
from dataclasses import dataclass
from bros_sim.plots.spec import FigureSpec
from bros_sim.plots.style import finish, panels

@dataclass(frozen=True, kw_only=True)
class Arrivals(FigureSpec):
    """Requests that arrived so far."""
    colour: str = "black"
    needs = "arrived"

    def draw(self, results):
        figure, (panel,) = panels([""], 2.0)
        for point in results.points:
            times = point.requests()["arrival_s"]
            panel.plot(times, range(len(times)), color=self.colour)
        return finish(figure, self.title, "")
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
    "metric": Addition(
        "metrics/prompts.py", METRIC, "metrics/catalogue.py", "METRICS: ",
        '    "longest_prompt": Metric("tokens", "Prompt", "longest prompt", None, longest_prompt),',
    ),
    "figure": Addition(
        "plots/arrivals.py", FIGURE, "plots/__init__.py", "PLOTS: ", '    "arrivals": Arrivals,'
    ),
}  # fmt: skip
COLUMN = {
    "core/columns.py": (
        "REQUESTS = ",
        '    Column("shared_tokens", "int64", "tokens", "shared prompt", "workload"),',
    ),
    "engine/record.py": (
        "        values: dict",
        '            "shared_tokens": request.system_prompt_tokens,',
    ),
}
"""File -> the line after which a column of requests is entered, and how."""
NAMES = {"scheduler": "LifoParameters", "KV manager": "HalfParameters", "router": "LastParameters",
         "arrival process": "Pairs", "length model": "Short", "cap": "Twice",
         "trace format": "read_mine", "metric": "longest_prompt", "figure": "Arrivals"}  # fmt: skip
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
figures: [{plot: arrivals, colour: red}]
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A copy of the package with all that it ships, to which every kind has been added."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("bros_sim", "profiles", "traces"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file, (opens, column) in COLUMN.items():
        path = folder / "bros_sim" / file
        path.write_text("\n".join(_with_line(path, opens, column)) + "\n")
    for what, added in ADDITIONS.items():
        (folder / "bros_sim" / added.file).write_text(added.text)
        table = folder / "bros_sim" / added.table
        lines = _with_line(table, added.opens, added.line)
        first = next(n for n, line in enumerate(lines) if line.startswith("from "))
        module = added.file.removesuffix(".py").replace("/", ".")
        lines.insert(first, f"from bros_sim.{module} import {NAMES[what]}")
        table.write_text("\n".join(lines) + "\n")
    return folder


def _with_line(path: Path, opens: str, line: str) -> list[str]:
    """The lines of a file, with one more after the first that begins so."""
    lines = path.read_text().splitlines()
    at = next(n for n, known in enumerate(lines) if known.startswith(opens))
    return [*lines[: at + 1], line, *lines[at + 1 :]]


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
    assert set(requests["shared_tokens"]) == {0}
    assert set(table["longest_prompt"]) == {2, 5}
    assert (package / "results" / "mine" / "figures" / "arrivals.png").exists()


def test_what_was_added_is_listed_with_its_parameters_and_in_the_schema(package):
    listed = json.loads(_bros(package, "list", "--format", "json"))
    found = {
        group: {entry["name"]: entry for entry in entries} for group, entries in listed.items()
    }
    assert found["kv"]["half"]["parameters"] == found["kv"]["paged"]["parameters"]
    assert found["schedulers"]["lifo"]["fidelity"] == "exact"
    assert found["arrivals"]["pairs"]["parameters"][0]["name"] == "gap_s"
    assert {"last"} <= found["routers"].keys()
    assert "longest_prompt" in found["metrics"]
    assert found["plots"]["arrivals"]["parameters"][-1]["name"] == "colour"
    schema = _bros(package, "schema")
    assert all(f'"const": "{kind}"' in schema for kind in ("lifo", "arrivals"))


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
    assert len(changed) == 2 * len(ADDITIONS) + len(COLUMN)
