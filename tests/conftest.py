"""Options and settings of the whole test suite."""

import pytest
from hypothesis import HealthCheck, settings
from slices import SLICES, in_slice

# The same examples in every run of `make test`, few where a test runs tests, fewer in `make quick`;
# `make test-all` draws new ones.
SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("repeatable", deadline=None, suppress_health_check=SLOW, derandomize=True)
settings.register_profile("search", deadline=None, suppress_health_check=SLOW)
settings.register_profile("few", settings.get_profile("repeatable"), max_examples=8)
settings.register_profile("quick", settings.get_profile("repeatable"), max_examples=3)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write the frozen summaries of tests/golden anew, and the picture of docs/design.md",
    )
    parser.addoption(
        "--slice",
        metavar="COMMIT",
        help=f"of the long tests, only one in {SLICES}, chosen by the hash of a commit",
    )
    parser.addoption(
        "--scheduler",
        action="append",
        metavar="KIND",
        help="test the laws of this scheduler alone: a kind, or module:Class of your own",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the long tests of other slices, and with `--slice` every test that is not long."""
    commit = config.getoption("--slice")
    if commit is None:
        return
    long = [item.nodeid for item in items if item.get_closest_marker("long")]
    kept = set(in_slice(long, commit))
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in kept])
    items[:] = [item for item in items if item.nodeid in kept]
