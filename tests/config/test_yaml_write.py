"""Text that is written reads as what it was written from."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bros_sim.config import parse
from bros_sim.config.yaml_text import yaml_text
from bros_sim.experiment import load
from tests.cli.conftest import EXPERIMENT

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from(
        ["yes", "On", "null", "1e3", "0x1f", "~", "- a", "a: b", "#", "", "12:30", "é"]
    )
)
DATA = st.recursive(
    SCALARS,
    lambda below: (
        st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=8), below, max_size=4)
    ),
    max_leaves=20,
)


@pytest.mark.slow
@given(st.dictionaries(st.text(max_size=8), DATA, min_size=1, max_size=5))
def test_it_reads_as_it_was(data):
    assert parse(yaml_text(data), "written.yaml").data == data


def test_a_point_is_written_in_block_style_with_few_quotes():
    text = load(parse(EXPERIMENT[: EXPERIMENT.index("figures:")], "e.yaml")).points[0].resolved
    assert "\n  chat:\n    class: rt\n" in text
    assert not re.search(r"[{}\[\]]", text), text
