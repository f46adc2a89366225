"""YAML that its parser gives up on: one line with the place, never a traceback."""

import pytest

from bros_sim.config import parse
from bros_sim.core.errors import InputError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nwarmup_s: !!bool 5\n", "x.yaml:2:11: .*5 is not a valid bool"),
        ('name: "\\Uffffffff"\n', "x.yaml:1:1: .*not YAML"),
    ],
)
def test_what_is_no_yaml_is_a_line_with_its_place(text, message):
    with pytest.raises(InputError, match=message):
        parse(text, "x.yaml")
