"""A folder that looks like the repository to the commands of the documents."""

import os
import re
import shutil
import sys

import pytest
from doc_blocks import ROOT, blocks

from bros_sim.core.data_files import data_path

TWIN = data_path("traces") / "azure-conv.json"
REAL_RUN = (
    "request_id,arrival_s,prompt_tokens,output_tokens,first_token_s,last_token_s\n"
    "a,0.0,100,20,0.1,0.4\nb,0.5,200,10,0.6,0.8\n"
)
TRACE = "arrival_s,prompt_tokens,output_tokens\n0.0,100,20\n0.5,200,10\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Current folder: copies of what commands read, and the files that the prose calls yours."""
    for name in ("experiments", "profiles", "traces", "tests/data"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "my_trace.csv").write_text(TRACE)
    (tmp_path / "run.csv").write_text(REAL_RUN)
    (tmp_path / "meta.json").write_text(
        '{"engine_kwargs": {"max_num_seqs": 8, "max_model_len": 32768}}'
    )
    (tmp_path / "my.json").write_bytes(TWIN.read_bytes())
    (tmp_path / "my.csv").write_text(TRACE)
    for sample, name in (("steps.csv", "steps.csv"), ("llama.json", "config.json")):
        shutil.copy(ROOT / "tests" / "data" / "calibration" / sample, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("bros_sim.study.study.cores", lambda: 1)
    return tmp_path


@pytest.fixture
def environment():
    """The environment without what an outer ``make`` hands down."""
    return {name: value for name, value in os.environ.items() if not re.match("MAKE|MFLAGS", name)}


@pytest.fixture
def own_scheduler(folder, monkeypatch):
    """The scheduler of docs/recipes.md where its YAML expects it."""
    (block,) = (b for b in blocks(ROOT / "docs" / "recipes.md") if b.language == "python")
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    package = folder / "my_pkg"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "my_module.py").write_text(block.text)
    yield
    for name in ("my_pkg.my_module", "my_pkg"):
        sys.modules.pop(name, None)
