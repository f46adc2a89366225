"""The wheel works where there is no checkout, and the sdist is enough to build it.

The environment is a fresh one: of the one that runs the tests it sees the dependencies, and nothing
of this checkout, because the `.pth` files of a folder that a `.pth` file names are not read.
"""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bros_sim import __version__

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "requirements.lock").read_text().splitlines()
PINS = (line.split("==") for line in LINES if not line.startswith("#"))
LOCK = {canonicalize_name(name): version for name, version in PINS}
DIST_INFO = f"bros_sim-{__version__}.dist-info"
SHORT = ("duration_s=4", "warmup_s=0", "drain_s=60", "sweep.seeds=1")


def run(*command: object, cwd: Path) -> str:
    """Run a command without a trace of this checkout in its surroundings; its stdout."""
    hidden = ("PYTHON", "PIP_", "VIRTUAL_ENV", "COVERAGE")
    env = {name: text for name, text in os.environ.items() if not name.startswith(hidden)}
    done = subprocess.run(
        [str(word) for word in command],
        check=False,
        cwd=cwd,
        env={**env, "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder with the sdist and the wheel that was built from that sdist."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    return out


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """The folder of the programs of an environment into which pip has installed the wheel."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home)
    programs = home / "bin"
    (wheel,) = built.glob("*.whl")
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    pip = (base, "-m", "pip", "--disable-pip-version-check", "--python", programs / "python")
    run(*pip, "install", "--no-deps", "--no-index", "--quiet", wheel, cwd=home)
    site = sysconfig.get_path("purelib", "venv", {"base": str(home), "platbase": str(home)})
    paths = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (Path(site) / "dependencies.pth").write_text("\n".join(paths) + "\n")
    return programs


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    """An empty folder."""
    return tmp_path


def test_it_is_the_wheel_that_is_tested(installed, elsewhere):
    where = run(
        installed / "python", "-c", "import bros_sim; print(bros_sim.__file__)", cwd=elsewhere
    )
    assert where.startswith(str(installed.parent))
    path = run(installed / "python", "-c", "import sys; print(*sys.path, sep='\\n')", cwd=elsewhere)
    assert str(ROOT) not in path.splitlines()


def test_what_init_writes_runs(installed, elsewhere):
    bros = installed / "bros-sim"
    run(bros, "init", "mine", cwd=elsewhere)
    schema = (elsewhere / "mine" / "experiment.schema.json").read_text()
    assert schema == (ROOT / "experiment.schema.json").read_text()
    settings = [word for setting in SHORT for word in ("--set", setting)]
    table = run(bros, "run", "mine/experiment.yaml", *settings, "--workers", 2, cwd=elsewhere)
    assert "vLLM priority" in table
    results = elsewhere / "results" / "quickstart"
    assert len(pd.read_csv(results / "summary.csv")) == 60
    assert (results / "figures" / "attainment-rate_rps.svg").exists()


def test_profiles_and_twins_are_found(installed, elsewhere):
    shown = json.loads(
        run(installed / "bros-sim", "list", "profiles", "--format", "json", cwd=elsewhere)
    )
    files = (ROOT / "profiles").rglob("*.yaml")
    ids = {str(path.relative_to(ROOT / "profiles").with_suffix("")) for path in files}
    assert {entry["name"] for entry in shown["profiles"]} == ids
    stats = run(installed / "bros-sim", "trace", "list", cwd=elsewhere)
    assert all(path.stem in stats for path in (ROOT / "traces").glob("*.json"))


def test_decisions_can_be_replayed(installed, elsewhere):
    log = min((ROOT / "tests" / "data" / "vllm_decisions").glob("*.json.gz"))
    said = run(installed / "bros-sim", "conformance", "vllm", log, cwd=elsewhere)
    assert said == "1/1 identical\n"


def test_the_wheel_holds_the_package_and_its_data_alone(built):
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"bros_sim", DIST_INFO}
    for kind in ("profiles", "traces", "experiments"):
        here = {path.relative_to(ROOT) for path in (ROOT / kind).rglob("*") if path.is_file()}
        there = {name for name in names if name.startswith(f"bros_sim/_data/{kind}/")}
        assert {f"bros_sim/_data/{path}" for path in here} == there
    sources = {path.relative_to(ROOT) for path in (ROOT / "bros_sim").rglob("*.py")}
    assert {str(path) for path in sources} == {name for name in names if name.endswith(".py")}
    page = {f"bros_sim/report/page.{kind}" for kind in ("html.j2", "css", "js")}
    assert {"bros_sim/py.typed", "bros_sim/plots/paper.mplstyle", *page} <= set(names)


def test_the_sdist_holds_no_tests_and_no_caches(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"} <= names
    tops = {name.partition("/")[0] for name in names}
    assert tops == {
        "bros_sim", "profiles", "traces", "experiments", "pyproject.toml", "README.md",
        "CHANGELOG.md", "LICENSE", "PKG-INFO", ".gitignore",
    }  # fmt: skip
    assert not any("__pycache__" in name for name in names)


def test_the_lock_pins_what_the_wheel_requires(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"{DIST_INFO}/METADATA").decode()
    required = [Requirement(text) for text in re.findall(r"^Requires-Dist: (.*)$", metadata, re.M)]
    assert required
    for requirement in required:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue  # of an extra, which the lock leaves to its user
        assert requirement.specifier.contains(LOCK[canonicalize_name(requirement.name)]), (
            requirement
        )
