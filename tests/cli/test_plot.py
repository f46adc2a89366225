"""`bros-sim plot`: the figures of a finished run again, or any other."""

from pathlib import Path

import pytest

RATE = "workload.chat.arrivals.rate_rps"
FIGURES = Path("results/tiny/figures")


@pytest.fixture
def finished(bros, tiny):
    assert bros("run", tiny).exit_code == 0


def names() -> set[str]:
    return {path.name for path in FIGURES.iterdir()}


def test_the_figures_of_the_experiment_again(finished, bros):
    made = {path.name: path.read_bytes() for path in FIGURES.iterdir()}
    for name in made:
        (FIGURES / name).unlink()
    result = bros("plot", "results/tiny")
    assert result.exit_code == 0, result.output
    assert {path.name: path.read_bytes() for path in FIGURES.iterdir()} == made


def test_any_figure_beside_them(finished, bros):
    before = names()
    cdf = f"{{plot: latency_cdf, metric: tpot, where: {{{RATE}: 4}}}}"
    line = f"{{plot: line, x: {RATE}, y: p99_ttft_ms}}"
    result = bros("plot", "results/tiny", "--figure", cdf, "--figure", line)
    assert result.exit_code == 0, result.output
    drawn = {"latency_cdf-tpot-rate_rps=4", "line-p99_ttft_ms-rate_rps"}
    files = {f"{name}.{kind}" for name in drawn for kind in ("png", "svg")}
    assert {Path(path).name for path in result.stdout.split()} == files
    assert names() == before | files


def test_every_fault_of_every_figure_and_nothing_drawn(finished, bros):
    before = names()
    good = f"{{plot: attainment, x: {RATE}, y: ttft_attainment}}"
    given = [good, "{plot: lime}", f"{{plot: line, x: {RATE}, y: mean_ttf_ms}}", "{", "words"]
    result = bros("plot", "results/tiny", *(word for text in given for word in ("--figure", text)))
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("--figure:1:") for line in lines)
    assert "did you mean 'line'?" in lines[0]
    assert "did you mean 'mean_ttft_ms'?" in lines[1]
    assert names() == before
