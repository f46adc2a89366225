"""What is stored with a point is read by the registry of columns, or refused in one line."""

import json

import pandas as pd
import pytest

from bros_sim.core.columns import ENGINES, REQUESTS, STEPS, names, stored
from bros_sim.core.errors import InputError
from bros_sim.study.store import open_results


@pytest.fixture
def folder(bros, tiny, tmp_path):
    assert bros("run", tiny).exit_code == 0
    return tmp_path / "results" / "tiny"


def first(folder):
    return open_results(folder)[0].points[0]


def test_tables_have_the_columns_of_the_registry(folder):
    point = first(folder)
    for name, columns in (("requests", REQUESTS), ("steps", STEPS), ("engines", ENGINES)):
        table = getattr(point, name)()
        assert tuple(table.columns) == stored(columns)
        kinds = {column.name: column.dtype for column in columns if column.stored}
        assert [str(kind) for kind in table.dtypes] == list(kinds.values()), name
    engines = point.engines()
    assert engines["engine"].tolist() == [0]
    assert engines["up_s"].tolist() == [0.0]
    assert engines["down_s"].isna().all()


def test_points_of_the_last_version_are_read_but_for_their_engines(folder, bros):
    for path in folder.glob("points/*/summary.json"):
        content = json.loads(path.read_text())
        del content["engines"]
        path.write_text(json.dumps(content))
    assert bros("plot", folder).exit_code == 0
    assert len(first(folder).requests()) > 0
    with pytest.raises(InputError, match=r"an earlier version stored this point.*no engines"):
        first(folder).engines()


def test_a_table_without_a_column_is_refused_in_one_line(folder):
    point = first(folder)
    path = point.folder / "requests.parquet"
    pd.read_parquet(path).drop(columns="ttft_s").to_parquet(path)
    assert list(point.requests(["status"])) == ["status"]
    with pytest.raises(InputError) as caught:
        point.requests()
    (line,) = caught.value.lines
    assert line.startswith(f"{path}: an earlier version")
    assert line.endswith("it has no column ttft_s")


def test_names_are_unique():
    for columns in (REQUESTS, STEPS, ENGINES):
        assert len(set(names(columns))) == len(columns)
