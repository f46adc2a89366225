"""`bros-sim doctor`: what is installed and what is not."""

import tomllib
from importlib import metadata
from pathlib import Path

from bros_sim.cli.doctor import PURPOSE

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def test_every_dependency_and_extra_is_named(bros):
    result = bros("doctor")
    assert result.exit_code == 0, result.output
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    for requirement in PROJECT["dependencies"]:
        name = requirement.split(">")[0].replace(".", "-")
        assert lines[name] == metadata.version(name)
    extras = PROJECT["optional-dependencies"]
    assert set(PURPOSE) == set(extras)
    assert {name for name in lines if name.startswith("[")} == {f"[{extra}]" for extra in extras}
    assert lines["profiles"].split()[0].isdecimal()


def test_what_is_missing_is_said_with_its_remedy(bros, monkeypatch):
    def without(name):
        if name in {"simpy", "distributed", "dask-jobqueue", "torch"}:
            raise metadata.PackageNotFoundError(name)
        return "1.2.3"

    monkeypatch.setattr("bros_sim.cli.doctor.metadata.version", without)
    result = bros("doctor")
    assert result.exit_code == 1
    assert "MISSING: pip install bros-sim" in result.stdout
    assert "not installed: pip install 'bros-sim[cluster]' (`bros-sim run --dask`" in result.stdout
    assert "GPU" in result.stdout
