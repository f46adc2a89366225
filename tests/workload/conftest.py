from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "traces"


@pytest.fixture
def original():
    """name -> path of an original trace; skips the test where it is absent."""

    def find(name):
        if not (FOLDER / name).is_file():
            pytest.skip(f"the original trace {name} is not here")
        return FOLDER / name

    return find
