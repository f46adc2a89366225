"""Where the evidence lies, and small tables that need none."""

from pathlib import Path

import pytest
from calibration.synthetic import write_tables

SHARED = Path(__file__).parents[3] / "shared" / "data" / "profiles"


@pytest.fixture
def shared_tables() -> Path:
    if not (SHARED / "aiconfigurator").is_dir():
        pytest.skip("the kernel tables are not beside the repository")
    return SHARED


@pytest.fixture(scope="session")
def own_tables(tmp_path_factory) -> Path:
    return write_tables(tmp_path_factory.mktemp("tables"))
