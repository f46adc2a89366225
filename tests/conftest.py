"""Options and settings of the whole test suite."""

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run of `make test`, few where a test runs tests; `make test-all` draws
# new ones.
SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("repeatable", deadline=None, suppress_health_check=SLOW, derandomize=True)
settings.register_profile("search", deadline=None, suppress_health_check=SLOW)
settings.register_profile("few", settings.get_profile("repeatable"), max_examples=8)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write the frozen summaries of tests/golden anew",
    )
    parser.addoption(
        "--scheduler",
        action="append",
        metavar="KIND",
        help="test the laws of this scheduler alone: a kind, or module:Class of your own",
    )
