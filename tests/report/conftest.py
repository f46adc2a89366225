"""A finished run and its report."""

import pytest
from reported import EXPERIMENT, finish
from typer.testing import CliRunner

from bros_sim.cli import app


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A sweep over two paths whose systems have names that no page should take literally."""
    return finish(tmp_path_factory.mktemp("report"), EXPERIMENT)


@pytest.fixture(scope="session")
def page(finished):
    """Its report."""
    result = CliRunner().invoke(app, ["report", str(finished)])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{finished}/report.html\n"
    return finished / "report.html"
