"""The slices of the long tests: disjoint, and together all of them."""

import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
from slices import SLICES, in_slice

ROOT = Path(__file__).parents[2]
COMMITS = [f"{number:07x}89abcdef" for number in range(100, 100 + SLICES)]
"""One of each slice."""


@pytest.mark.parametrize("count", [0, 1, 11, 12, 13, 100])
def test_they_are_disjoint_and_together_all(count: int):
    nodes = [f"tests/test_{number}.py::test" for number in range(count)]
    slices = [in_slice(reversed(nodes), commit) for commit in COMMITS]
    assert sorted(chain(*slices)) == sorted(nodes)
    assert max(map(len, slices)) - min(map(len, slices)) <= 1


def test_a_short_hash_names_the_same_slice():
    nodes = [str(number) for number in range(50)]
    assert in_slice(nodes, "735eed2") == in_slice(nodes, "735eed2a1b0cffee")
    with pytest.raises(ValueError, match="invalid literal"):
        in_slice(nodes, "main")


def collected(*options: str) -> list[str]:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *options, "tests/core/test_bidirectional.py"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in {0, 5}, done.stdout  # 5: no test is left
    return [line for line in done.stdout.splitlines() if "::" in line]


@pytest.mark.slow
def test_pytest_keeps_the_long_tests_of_the_slice():
    long = collected("-m", "long")
    assert long
    for commit in (COMMITS[8], COMMITS[9]):  # the slices of the first tests by name
        assert sorted(collected("--slice", commit)) == in_slice(long, commit)
