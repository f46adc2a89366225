"""The YAML that documents show is without fault."""

import pytest
from doc_blocks import DOCUMENTS, ROOT, blocks, inline_code

from bros_sim.config import parse
from bros_sim.core.errors import InputError
from bros_sim.experiment import load
from bros_sim.report.figure_files import read_figures

BASE = {
    "name": "name: fragment",
    "duration_s": "duration_s: 5",
    "workload": """workload:
  chat:
    class: rt
    arrivals: {kind: poisson, rate_rps: 1}
    lengths: {kind: fixed, prompt: 9, output: 9}""",
    "systems": "systems: {vLLM: {scheduler: {kind: vllm}, kv: {kind: paged}}}",
}
"""What completes a fragment of an experiment; what the fragment says itself is left out."""
STREAM = """workload:
  s:
    class: rt
    arrivals: %(arrivals)s
    lengths: %(lengths)s
    max_tokens: %(max_tokens)s
"""
PARTS = {
    "arrivals": "{kind: poisson, rate_rps: 1}",
    "lengths": "{kind: fixed, prompt: 9, output: 9}",
    "max_tokens": "{kind: exact}",
}
YAML = [block for document in DOCUMENTS for block in blocks(document) if block.language == "yaml"]
KINDS = [
    pytest.param(code, id=f"{document.relative_to(ROOT)}:{line}")
    for document in DOCUMENTS
    for line, code in inline_code(document)
    if code.startswith("{kind:")
]


def check(text: str) -> None:
    keys = parse(text, "fragment.yaml").data
    missing = [line for key, line in BASE.items() if key not in keys]
    document = parse(text + "\n".join(missing), "fragment.yaml")
    read_figures(document, load(document).points)


@pytest.mark.parametrize("block", YAML, ids=lambda b: f"{b.document.name}:{b.line}")
def test_a_block_decodes(block, own_scheduler):
    check(block.text)


@pytest.mark.parametrize("code", KINDS)
def test_a_component_in_the_prose_decodes(code, folder):
    faults = []
    for part in PARTS:
        try:
            return check(STREAM % {**PARTS, part: code})
        except InputError as error:
            faults += error.lines
    pytest.fail("\n".join(faults))


def test_there_are_some():
    assert len(YAML) >= 3
    assert len(KINDS) >= 5


def test_the_experiment_of_the_readme_has_15_lines():
    (block,) = (block for block in YAML if block.document.name == "README.md")
    assert block.text.count("\n") == 15
