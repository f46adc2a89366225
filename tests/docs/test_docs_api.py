"""The examples of docs/api.md run, one after the other, as a reader would try them."""

import importlib.util

import pytest
from doc_blocks import ROOT, blocks

import bros_sim as bs

EXAMPLES = [b for b in blocks(ROOT / "docs" / "api.md") if b.language == "python"]
NEEDS_OPTUNA = "bs.tune("


@pytest.mark.slow
def test_the_examples_run(folder, capsys):
    names = {}
    for block in EXAMPLES:
        text = block.text
        if NEEDS_OPTUNA in text and importlib.util.find_spec("optuna") is None:
            text = "".join(line for line in text.splitlines(True) if NEEDS_OPTUNA not in line)
        exec(compile(text, f"docs/api.md:{block.line}", "exec"), names)
    printed = capsys.readouterr().out
    assert "Against vLLM FCFS, over the same" in printed
    assert "chat-17 (rt), " in printed


@pytest.mark.parametrize("verb", ["capacity", "compare", "explain", "plot", "tune", "validate"])
def test_every_verb_of_results_has_an_example(verb):
    assert f"bs.{verb}(" in "".join(block.text for block in EXAMPLES)
    assert verb in bs.__all__
