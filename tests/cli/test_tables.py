"""`outputs: {tables: csv}`: the tables of each point as CSV, beside the Parquet files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.cli.conftest import EXPERIMENT

pytestmark = pytest.mark.slow

CSV = EXPERIMENT + "outputs: {tables: csv}\n"


def points() -> list[Path]:
    return sorted(Path("results/tiny/points").iterdir())


def test_they_read_back_as_they_were(bros, tiny):
    tiny.write_text(CSV)
    assert bros("run", tiny).exit_code == 0
    assert len(points()) == 4
    for folder in points():
        for name in ("requests", "steps"):
            table = pd.read_parquet(folder / f"{name}.parquet")
            again = pd.read_csv(folder / f"{name}.csv", dtype=str, keep_default_na=False)
            assert list(again) == list(table)
            for column in table.select_dtypes("number"):
                numbers = [float(text or "nan") for text in again[column]]
                np.testing.assert_array_equal(numbers, table[column].to_numpy(float))


def test_asked_for_later_nothing_runs_again(bros, tiny):
    assert bros("run", tiny).exit_code == 0
    before = {folder: (folder / "summary.json").stat().st_mtime_ns for folder in points()}
    assert not list(Path("results").rglob("requests.csv"))
    tiny.write_text(CSV)
    result = bros("run", tiny)
    assert "4 points already in" in result.stderr
    assert {folder: (folder / "summary.json").stat().st_mtime_ns for folder in points()} == before
    written = {path: path.stat().st_mtime_ns for path in Path("results").rglob("points/*/*.csv")}
    assert len(written) == 8
    assert bros("run", tiny).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_a_decision_log_is_one_of_them(bros, tiny):
    tiny.write_text(EXPERIMENT + "outputs: {tables: csv, decisions: true}\n")
    assert bros("run", tiny).exit_code == 0
    assert len(list(Path("results").rglob("decisions.csv"))) == 4


def test_another_format_is_refused(bros, tiny):
    tiny.write_text(EXPERIMENT + "outputs: {tables: cvs}\n")
    result = bros("run", tiny)
    assert result.exit_code == 2
    assert "outputs.tables" in result.stderr
    assert "did you mean 'csv'?" in result.stderr
    assert not Path("results").exists()
