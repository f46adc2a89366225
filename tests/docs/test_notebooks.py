"""Notebooks as they are stored; `make test` runs them with nbmake."""

import json

import pytest
from doc_blocks import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def code(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs_and_ends_in_a_figure(path):
    cells = code(path)
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    assert cells[-1]["source"][-1] == "figure"


def test_they_are_all_there_and_continuous_integration_runs_them():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04"]
    assert "--nbmake notebooks" in (ROOT / "Makefile").read_text()
