"""The table of verbs: what it says of each, and that nothing is imported before a verb runs."""

import importlib
import subprocess
import sys

import pytest

from bros_sim.cli import VERBS
from bros_sim.cli.verbs import Verb

FLAT = {name: verb for name, verb in VERBS.items() if isinstance(verb, Verb)}
FLAT |= {
    f"{group} {name}": verb
    for group, verbs in VERBS.items()
    if not isinstance(verbs, Verb)
    for name, verb in verbs.verbs.items()
}


@pytest.mark.parametrize("name", FLAT)
def test_the_list_says_of_a_verb_what_its_help_begins_with(bros, name):
    module, _, function = FLAT[name].target.partition(":")
    verb = getattr(importlib.import_module(f"bros_sim.cli.{module}"), function)
    assert verb.__doc__.partition("\n")[0] == FLAT[name].help
    shown = bros(*name.split(), "--help")
    assert shown.exit_code == 0
    assert f"Usage: bros-sim {name} " in " ".join(shown.stdout.split())


def test_a_verb_that_is_nearly_right_is_suggested(bros):
    result = bros("compar")
    assert result.exit_code == 2
    assert "Did you mean 'compare'" in result.stderr
    assert "Did you mean 'show'" in bros("profile", "shw").stderr


def test_a_verb_imports_what_it_needs_and_no_more():
    code = (
        "import sys; from typer.testing import CliRunner; from bros_sim.cli import app; "
        "assert not CliRunner().invoke(app, ['run', '--help']).exit_code; "
        "print([name for name in sys.modules if name.startswith('bros_sim.cli.')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "bros_sim.cli.run'" in run.stdout
    assert "bros_sim.cli.searches'" not in run.stdout
