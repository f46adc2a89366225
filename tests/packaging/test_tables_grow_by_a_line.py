"""A metric, a figure, a column of requests: one new file or function, and one line in a table.

Each is added to a copy of the package, which then knows it everywhere.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "bros_sim"
EXPERIMENT = """
name: grown
duration_s: 2
cluster: {profile: a100-80gb/llama-3-8b-tp1}
workload:
  a: {class: rt, arrivals: {kind: poisson, rate_rps: 5}, lengths: {kind: fixed, prompt: 9, output: 9}}
systems: {FCFS: {scheduler: {kind: vllm}, kv: {kind: paged}}}
sweep: {grid: {workload.a.arrivals.rate_rps: [2, 5]}}
"""  # noqa: E501

METRIC = '''"""How long prompts are."""

from bros_sim.metrics.sample import Sample


def longest_prompt(sample: Sample) -> int:
    """The longest prompt of the window."""
    return int(sample.window["prompt_tokens"].max(initial=0))
'''
FIGURE = '''"""Arrivals over time."""

from dataclasses import dataclass

from matplotlib.figure import Figure

from bros_sim.plots.spec import FigureSpec, Results
from bros_sim.plots.style import finish, panels


@dataclass(frozen=True, kw_only=True)
class Arrivals(FigureSpec):
    """Requests that arrived so far."""

    colour: str = "black"

    @property
    def needs(self) -> str:
        """All that it needs."""
        return "arrived"

    def draw(self, results: Results) -> Figure:
        """Draw it."""
        figure, (panel,) = panels([""], 2.0)
        for point in results.points:
            times = point.requests()["arrival_s"]
            panel.plot(times, range(len(times)), color=self.colour)
        return finish(figure, self.title, "")
'''
READ = """
import bros_sim as bs
print(bs.read_results("results/grown").points[0].requests().to_csv(index=False))
"""


@pytest.fixture
def copy(tmp_path):
    """A copy of the package, and a way to run Python with it."""
    shutil.copytree(PACKAGE, tmp_path / "bros_sim", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "profiles").symlink_to(PACKAGE.parent / "profiles")
    (tmp_path / "traces").symlink_to(PACKAGE.parent / "traces")
    (tmp_path / "grown.yaml").write_text(EXPERIMENT)
    return tmp_path


def insert(file: Path, before: str, line: str) -> None:
    """Put one line before the first one that begins so."""
    text = file.read_text()
    at = text.index(before)
    file.write_text(f"{text[:at]}{line}\n{text[at:]}")


def run(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def bros(folder: Path, *words: str) -> str:
    return run(folder, "-m", "bros_sim", *words)


def test_a_metric_is_a_file_and_a_line(copy):
    (copy / "bros_sim/metrics/prompts.py").write_text(METRIC)
    catalogue = copy / "bros_sim/metrics/catalogue.py"
    entry = '"longest_prompt": Metric("tokens", "Prompt", "longest", None, prompts.longest_prompt)'
    insert(catalogue, '    "max_itl_ms"', f"    {entry},")
    insert(catalogue, "from bros_sim.metrics.latencies", "from bros_sim.metrics import prompts")
    assert "longest_prompt" in bros(copy, "list", "metrics")
    bros(copy, "run", "grown.yaml")
    summary = (copy / "results/grown/summary.csv").read_text().splitlines()
    column = summary[0].split(",").index("longest_prompt")
    assert summary[1].split(",")[column] == "9"
    assert bros(copy, "plot", "results/grown", "--figure",
                "{plot: line, x: workload.a.arrivals.rate_rps, y: longest_prompt}")  # fmt: skip


def test_a_figure_is_a_file_and_a_line(copy):
    (copy / "bros_sim/plots/arrivals.py").write_text(FIGURE)
    table = copy / "bros_sim/plots/__init__.py"
    insert(table, '    "attainment"', '    "arrivals": Arrivals,')
    insert(table, "from bros_sim.plots.attainment", "from bros_sim.plots.arrivals import Arrivals")
    assert "colour" in bros(copy, "list", "plots")
    assert '"colour"' in bros(copy, "schema")
    with (copy / "grown.yaml").open("a") as file:
        file.write("figures: [{plot: arrivals, colour: red}]\n")
    bros(copy, "run", "grown.yaml")
    assert (copy / "results/grown/figures/arrivals.png").exists()


def test_a_column_of_requests_is_a_line_and_the_place_that_fills_it(copy):
    line = (
        '    Column("system_prompt_tokens", "int64", "tokens", "shared by its stream", "workload"),'
    )
    insert(copy / "bros_sim/core/columns.py", '    Column("output_tokens"', line)
    line = '            "system_prompt_tokens": request.system_prompt_tokens,'
    insert(copy / "bros_sim/engine/record.py", '            "output_tokens"', line)
    bros(copy, "run", "grown.yaml")
    table = run(copy, "-c", READ).splitlines()
    columns = table[0].split(",")
    place = columns.index("system_prompt_tokens")
    assert columns[place + 1] == "output_tokens"
    assert {row.split(",")[place] for row in table[1:] if row} == {"0"}
