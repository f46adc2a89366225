"""The scheduler of docs/recipes.md, as printed there, under the laws and from YAML."""

import re
from pathlib import Path

import pytest
from simulations import UNEVEN, make_replica, make_request, run

from bros_sim.kv.paged import PagedKV

RECIPES = Path(__file__).parents[2] / "docs" / "recipes.md"


@pytest.fixture
def code() -> str:
    return re.search(r"```python\n(.*?)```", RECIPES.read_text(), re.DOTALL)[1]


def test_printed_scheduler_serves_the_shortest_first_and_loses_nothing(code: str):
    names: dict = {"__name__": "recipe"}
    exec(code, names)
    kv = PagedKV(num_gpu_blocks=12, block_size=4)
    policy = names["ShortestPromptFirst"](max_num_seqs=3)
    requests = [make_request(i, prompt=30 - 4 * (i % 5), output=9) for i in range(12)]
    table = run(requests, make_replica(scheduler=policy, kv=kv, latency=UNEVEN))
    assert set(table.requests["status"]) == {"completed"}
    assert table.requests["num_preemptions"].sum() > 0
    assert kv.free_blocks == kv.usable_blocks
    first = table.requests.sort_values("first_scheduled_s").iloc[0]
    assert first["prompt_tokens"] == 14


def test_printed_scheduler_runs_from_yaml_by_its_path(code: str, tmp_path: Path, monkeypatch):
    from bros_sim.config import parse
    from bros_sim.experiment import load
    from bros_sim.experiment.build import run_point

    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "my_module.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    system = re.search(r"```yaml\n(.*?)```", RECIPES.read_text(), re.DOTALL)[1]
    text = f"""name: recipe
duration_s: 5
workload:
  chat:
    class: rt
    arrivals: {{kind: poisson, rate_rps: 4}}
    lengths: {{kind: fixed, prompt: 100, output: 20}}
{system}"""
    (point,) = load(parse(text, "recipe.yaml")).points
    assert "ShortestPromptFirst" in point.resolved
    assert set(run_point(point.spec).requests["status"]) == {"completed"}
