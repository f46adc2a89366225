"""The table and the figure of the README are those that the quickstart gives.

After a change that means to alter them: `pytest tests/docs --update-golden`.
"""

import re

import numpy as np
import pytest
from doc_blocks import ROOT
from matplotlib.image import imread
from typer.testing import CliRunner

from bros_sim.cli import app

README = ROOT / "README.md"
FIGURE = ROOT / "docs" / "figures" / "quickstart.png"
MADE = "results/quickstart/figures/attainment-rate_rps.png"
TABLE = re.compile(r"(?<=run experiments/quickstart.yaml\n```\n\n```text\n).*?(?=```)", re.DOTALL)


@pytest.mark.long
def test_table_and_figure_are_current(request, folder):
    result = CliRunner().invoke(app, ["run", "experiments/quickstart.yaml"])
    assert result.exit_code == 0, result.output
    printed = "".join(f"{line.rstrip()}\n" for line in result.stdout.strip("\n").splitlines())
    printed = printed.strip("\n") + "\n"
    if request.config.getoption("--update-golden"):
        README.write_text(TABLE.sub(lambda _: printed, README.read_text()))
        FIGURE.write_bytes((folder / MADE).read_bytes())
    assert TABLE.search(README.read_text())[0] == printed
    shown, made = imread(FIGURE), imread(folder / MADE)
    assert shown.shape == made.shape
    assert np.abs(shown - made).mean() < 0.003


def test_the_speed_in_the_readme_is_that_of_the_table():
    row = re.search(r"\| 20k, near saturation \|(.*)\|", (ROOT / "docs/speed.md").read_text())[1]
    rate, *_, peak = (cell.strip() for cell in row.split("|"))
    stated = re.search(r"at ([\d,]+)\s+requests/s\s+in (\d+) MB", README.read_text())
    assert stated.groups() == (rate, peak)
    assert float(rate.replace(",", "")) > 5000  # the floor
