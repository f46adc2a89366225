"""The package from Python: `import bros_sim as bs`, and the page that lists its names."""

import dataclasses
import inspect
import re
from pathlib import Path

import pandas as pd
import pytest

import bros_sim as bs
from tests.cli.conftest import EXPERIMENT

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
MODULES = re.compile(r"(bros_sim|pathlib|pandas|collections\.abc)(\.[a-z_]\w*)*\.")
PLAIN = EXPERIMENT[: EXPERIMENT.index("figures:")]
RATE = "workload.chat.arrivals.rate_rps"
ALIASES = {"Loaded": "Experiment", "ResultSet": "Results"}
"""Names of classes inside the package -> outside."""


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(PLAIN)
    return bs.load("tiny.yaml")


def test_the_page_lists_every_public_name_with_its_signature():
    assert re.findall(r"^### `bs\.(\w+)", PAGE, re.MULTILINE) == bs.__all__
    for name in bs.__all__:
        member = getattr(bs, name)
        if inspect.isfunction(member):
            signature = MODULES.sub("", str(inspect.signature(member)))
            for inside, public in ALIASES.items():
                signature = signature.replace(inside, public)
            assert f"### `bs.{name}{signature}`" in PAGE
        assert inspect.getdoc(member), name
    assert sorted(bs.__all__) == bs.__all__ == [*bs.__dir__()][:-1]
    with pytest.raises(AttributeError, match="no attribute 'swep'"):
        bs.swep  # noqa: B018


def test_the_attributes_on_the_page_are_there(experiment):
    shown = dict(re.findall(r"^### `bs\.(\w+).*?\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL))
    made = {"Experiment": experiment, "Point": experiment.points[0]}
    made |= {"Run": bs.run(experiment.points[0]), "Results": bs.sweep(experiment, workers=1)}
    for name, object_ in made.items():
        for attribute in re.findall(r"^\| `\.(\w+)", shown[name], re.MULTILINE):
            assert hasattr(object_, attribute), f"{name}.{attribute}"
    assert {f.name for f in dataclasses.fields(bs.Run)} == {"requests", "steps", "summary"}


def test_changes_are_what_set_takes(experiment):
    changed = bs.load("tiny.yaml", {"sweep.seeds": 2, f"sweep.grid.{RATE}": [3], "name": "other"})
    assert [point.labels["seed"] for point in changed.points] == [1, 2] * 2
    assert {point.labels[RATE] for point in changed.points} == {3}
    assert changed.spec.name == "other"
    assert [p.key for p in bs.loads(PLAIN).points] == [p.key for p in experiment.points]
    with pytest.raises(bs.InputError, match=r"^--set duration: unknown key"):
        bs.load("tiny.yaml", {"duration": 3})


@pytest.mark.slow
def test_a_run_is_what_a_sweep_stores(experiment):
    stored = bs.sweep(experiment, workers=2)
    again = bs.read_results("results/tiny")
    pd.testing.assert_frame_equal(stored.table(), again.table())
    for point, kept in zip(experiment.points, again.points, strict=True):
        made = bs.run(point)
        pd.testing.assert_frame_equal(made.requests, kept.requests())
        assert made.summary.loc["rt", "arrived"] == kept.summary["rt"]["arrived"]
    with pytest.raises(bs.InputError, match=r"^tiny: has 4 points: run one of .points, or sweep$"):
        bs.run(experiment)


def test_the_command_line_goes_on_with_a_sweep_from_python(bros, experiment):
    ended = []
    bs.sweep(experiment, workers=1, progress=lambda point, outcome: ended.append(point.key))
    assert ended == [point.key for point in experiment.points]
    result = bros("run", "tiny.yaml")
    assert "4 points already in" in result.stderr
