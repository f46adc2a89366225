"""Every code name of docs/paper-map.md is there: files, classes, attributes, parameters, values."""

import importlib
import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
from doc_blocks import ROOT, inline_code

from bros_sim.experiment.schema import Belief
from bros_sim.kv import KV_MANAGERS
from bros_sim.kv.parameters import BidirectionalParameters
from bros_sim.profiles.profile import Host
from bros_sim.schedulers import SCHEDULERS
from bros_sim.schedulers.bros.parameters import BrosParameters
from bros_sim.workload.arrivals import Clients

DOCUMENT = ROOT / "docs" / "paper-map.md"
SECTIONS = {
    "scheduler": BrosParameters,
    "kv": BidirectionalParameters,
    "estimate": Belief,
    "host": Host,
    "arrivals": Clients,
}
"""First word of a YAML path -> what follows it."""


def modules() -> dict[str, Path]:
    """The modules of what runs, by name."""
    rooms = ("core", "engine", "kv", "latency", "schedulers")
    paths = [path for room in rooms for path in (ROOT / "bros_sim" / room).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}


@pytest.fixture(scope="module")
def classes() -> dict[str, type]:
    found = {}
    for name in modules():
        module = importlib.import_module(name)
        for cls in vars(module).values():
            if inspect.isclass(cls) and cls.__module__ == name:
                found[cls.__name__] = cls
    return found


def has_attribute(cls: type, name: str) -> bool:
    """Whether the class or a base of it has it, declares it, or assigns it to ``self``."""
    own = [base for base in cls.mro() if base.__module__.startswith("bros_sim.")]
    assigned = re.compile(rf"^ +(self\.)?{name}\b(: .+)? = |^    {name}: ", re.MULTILINE)
    return hasattr(cls, name) or any(assigned.search(inspect.getsource(base)) for base in own)


def values(parameters: type) -> set[object]:
    """What its parameters can be, where that is a list of words."""
    hints = get_type_hints(parameters).values()
    return {value for hint in hints if get_origin(hint) is Literal for value in get_args(hint)}


def names(parameters: type) -> set[str]:
    hints = getattr(parameters, "model_fields", None)
    return set(hints) if hints else {field.name for field in fields(parameters)}


def is_known(span: str, classes: dict[str, type]) -> bool:
    """Whether a code span of the document names what there is."""
    kinds = SCHEDULERS | KV_MANAGERS
    if re.match("bros-sim |make ", span):
        return True  # commands: test_docs_commands.py
    if span.endswith(".py"):
        return any(str(path).endswith(f"/{span}") for path in modules().values())
    if match := re.fullmatch(r"(\w+): (\w+)", span):
        key, value = match.groups()
        if key == "kv":
            return value in KV_MANAGERS
        return any(key in names(kind) for kind in kinds.values()) and (
            value.isdigit() or value in {"true", "false"} or value in values(BrosParameters)
        )
    root, _, rest = span.partition(".")
    if root in SECTIONS and rest:
        return rest in names(SECTIONS[root])
    if root in classes:
        return not rest or has_attribute(classes[root], rest)
    parameters = names(BrosParameters) | names(BidirectionalParameters)
    return span in kinds or span in parameters or span in values(BrosParameters)


def test_every_code_name_of_the_paper_map_exists(classes):
    spans = list(inline_code(DOCUMENT))
    unknown = [f"line {line}: {span}" for line, span in spans if not is_known(span, classes)]
    assert not unknown
    assert len(spans) > 100


@pytest.mark.parametrize(
    "span",
    ["bros/offers.py", "Algorithm2", "Algorithm1.offer", "kv: pages", "scheduler.cap", "late"],
)
def test_what_is_not_there_is_found(span, classes):
    assert not is_known(span, classes)
