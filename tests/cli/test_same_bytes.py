"""Every shipped experiment gives the same bytes again, with any number of workers.

Shortened in every `make test`, in full in `make test-all`.
"""

import pytest

from bros_sim.config import override, read_yaml
from bros_sim.core.data_files import data_path
from bros_sim.experiment import load
from bros_sim.study.results import REQUESTS, STEPS, ResultSet
from bros_sim.study.runner import LocalWorkers, run_points
from bros_sim.study.store import Store

SHIPPED = sorted(data_path("experiments").glob("*.yaml"))
SHORT = ("duration_s=3", "warmup_s=0", "drain_s=20", "sweep.seeds=1")
VALUES = 2
"""Values kept of each axis of a grid."""


def shortened(path):
    document = read_yaml(path)
    for assignment in SHORT:
        document = override(document, assignment)
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
        outcomes = run_points(points, store, LocalWorkers(workers), lambda *_: None)
        assert {outcome.error for outcome in outcomes.values()} == {""}
        stores.append(store)
    return loaded, stores


@pytest.mark.parametrize("name", [path.stem for path in SHIPPED])
def test_a_shipped_experiment_gives_the_same_bytes_again(runs, name):
    loaded, stores = runs
    tables, requests = [], []
    for store in stores:
        points = [store.read(point.labels, point.key) for point in loaded[name].points]
        store.write_summary(ResultSet(name, store.folder, points))
        tables.append((store.folder / "summary.csv").read_bytes())
        requests.append([(point.folder / REQUESTS).read_bytes() for point in points])
    assert tables[0] == tables[1]
    assert requests[0] == requests[1]
    assert len(tables[0].splitlines()) == 1 + 3 * len(loaded[name].points)


@pytest.mark.long
@pytest.mark.parametrize("name", [path.stem for path in SHIPPED])
def test_a_shipped_experiment_in_full_gives_the_same_bytes_again(bros, tmp_path, name):
    """As a user runs it: twice from nothing, with one worker and with two."""
    made = []
    for workers in (1, 2):
        folder = tmp_path / f"workers-{workers}"
        path = data_path("experiments") / f"{name}.yaml"
        result = bros("run", path, "--out", folder, "--workers", workers)
        assert result.exit_code == 0, result.output
        files = sorted({*folder.rglob("*.csv"), *folder.rglob(REQUESTS), *folder.rglob(STEPS)})
        made.append({file.relative_to(folder): file.read_bytes() for file in files})
    assert made[0].keys() == made[1].keys()
    assert [str(file) for file in made[0] if made[0][file] != made[1][file]] == []
    points = len({point.key for point in load(read_yaml(path)).all_points})
    assert sum(file.name == REQUESTS for file in made[0]) == points
    assert sum(file.name == "summary.csv" for file in made[0]) == 1
