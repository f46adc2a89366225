"""Every shipped experiment gives the same bytes again, with any number of workers.

Shortened in every `make test`, in full, a seed at a time, in `make test-all`.
"""

from functools import partial

import pytest

from bros_sim.config import override, read_yaml
from bros_sim.core.data_files import data_path
from bros_sim.experiment import load
from bros_sim.study.results import REQUESTS, STEPS, ResultSet
from bros_sim.study.runner import here, run_points
from bros_sim.study.store import Store

pytestmark = pytest.mark.slow

SHIPPED = sorted(data_path("experiments").glob("*.yaml"))
SHORT = ("duration_s=3", "warmup_s=0", "drain_s=20", "sweep.seeds=1")
VALUES = 2
"""Values kept of each axis of a grid."""


def shortened(path):
    document = changed(path, SHORT)
    for axis, values in (document.get(("sweep", "grid")) or {}).items():
        document = document.put(("sweep", "grid", axis), values[:VALUES], {(): path.name})
    return load(document)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """All experiments in one sweep, since starting workers takes longer than the points."""
    loaded = {path.stem: shortened(path) for path in SHIPPED}
    points = [point for experiment in loaded.values() for point in experiment.points]
    points = list({point.key: point for point in points}.values())
    stores = []
    for workers in (1, 2):
        store = Store(tmp_path_factory.mktemp(f"workers-{workers}"))
        store.open()
        outcomes = run_points(points, store, partial(here, workers=workers), lambda *_: None)
        assert {outcome.error for outcome in outcomes.values()} == {""}
        stores.append(store)
    return loaded, stores


@pytest.mark.parametrize("name", [path.stem for path in SHIPPED])
def test_a_shipped_experiment_gives_the_same_bytes_again(runs, name):
    loaded, stores = runs
    tables, requests = [], []
    for store in stores:
        points = [store.read(point.labels, point.key) for point in loaded[name].points]
        store.write_table("summary.csv", ResultSet(name, store.folder, points).summary())
        tables.append((store.folder / "summary.csv").read_bytes())
        requests.append([(point.folder / REQUESTS).read_bytes() for point in points])
    assert tables[0] == tables[1]
    assert requests[0] == requests[1]
    assert len(tables[0].splitlines()) == 1 + 3 * len(loaded[name].points)


def changed(path, assignments):
    document = read_yaml(path)
    for assignment in assignments:
        document = override(document, assignment)
    return document


def parts(path):
    """The settings of each seed of an experiment; draws depend on the first seed: one part."""
    document = read_yaml(path)
    if document.get(("latency", "draws")):
        return [()]
    first = document.get(("seed",)) or 0
    seeds = range(first, first + (document.get(("sweep", "seeds")) or 1))
    return [(f"seed={seed}", "sweep.seeds=1") for seed in seeds]


def keys(document):
    return {point.key for point in load(document).all_points}


PARTS = [
    pytest.param(path, part, id="-".join([path.stem, *part[:1]]))
    for path in SHIPPED
    for part in parts(path)
]


@pytest.mark.long
@pytest.mark.parametrize(("path", "part"), PARTS)
def test_a_shipped_experiment_in_full_gives_the_same_bytes_again(bros, tmp_path, path, part):
    """As a user runs it: twice from nothing, with one worker and with two."""
    made = []
    changes = [word for assignment in part for word in ("--set", assignment)]
    for workers in (1, 2):
        folder = tmp_path / f"workers-{workers}"
        result = bros("run", path, "--out", folder, "--workers", workers, *changes)
        assert result.exit_code == 0, result.output
        files = sorted({*folder.rglob("*.csv"), *folder.rglob(REQUESTS), *folder.rglob(STEPS)})
        made.append({file.relative_to(folder): file.read_bytes() for file in files})
    assert made[0].keys() == made[1].keys()
    assert [str(file) for file in made[0] if made[0][file] != made[1][file]] == []
    points = len(keys(changed(path, part)))
    assert sum(file.name == REQUESTS for file in made[0]) == points
    assert sum(file.name == "summary.csv" for file in made[0]) == 1


@pytest.mark.parametrize("path", SHIPPED, ids=[path.stem for path in SHIPPED])
def test_the_parts_are_all_points(path):
    found = [keys(changed(path, part)) for part in parts(path)]
    assert set().union(*found) == keys(read_yaml(path))
