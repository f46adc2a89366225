"""Decoding plain data into dataclasses: strict, all faults at once, each at its place."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Protocol

import pytest
from annotated_doc import Doc
from annotated_types import Ge, Gt
from pydantic import Field

from bros_sim.config import decode, parse
from bros_sim.config.components import Kinds, Strict
from bros_sim.config.parameters import Parameter, parameters
from bros_sim.core.errors import Code, InputError


@dataclass(frozen=True)
class Knot:
    n: Annotated[int, Ge(1)]
    ms: float = 0.0


class Policy(Protocol):
    @property
    def limit(self) -> int: ...


@dataclass
class Fixed:
    """Always the same.

    More about it.
    """

    limit: Annotated[int, Gt(0), Doc("most at a time")]
    share: float = 0.5
    knots: tuple[Knot, ...] = ()
    order: Literal["fcfs", "priority"] = "fcfs"
    file: Path | None = None
    seen: int = field(init=False, default=7)

    def __post_init__(self) -> None:
        if self.limit == 13:
            raise ValueError("limit 13 brings bad luck")


@dataclass
class Nested:
    parts: tuple[Annotated[Policy, Kinds("policy", lambda: POLICIES)], ...]


POLICIES: dict[str, type] = {"fixed": Fixed, "nested": Nested}
POLICY = Kinds("policy", POLICIES, Policy)


class Plan(Strict):
    name: str
    cap: float | None = None
    klass: Literal["rt", "be"] = Field("rt", alias="class")
    policies: dict[str, Annotated[object, POLICY]] = Field(default_factory=dict)


def faults(text, shape=Plan):
    with pytest.raises(InputError) as caught:
        decode(shape, parse(text, "e.yaml"))
    return list(caught.value.lines)


@pytest.mark.parametrize(
    ("text", "path", "code"),
    [
        ("name: x\nnme: x", ("nme",), Code.UNKNOWN_KEY),
        ("cap: 1", ("name",), Code.MISSING_KEY),
        ("name: x\ncap: x", ("cap",), Code.VALUE),
        (
            "name: x\npolicies: {p: {kind: fixed, limit: 1.5}}",
            ("policies", "p", "limit"),
            Code.NOT_WHOLE,
        ),
        ("name: x\npolicies: {p: {kind: fixed, limit: 13}}", ("policies", "p"), Code.OTHER),
    ],
)
def test_a_fault_says_its_kind_and_path_without_its_words(text, path, code):
    with pytest.raises(InputError) as caught:
        decode(Plan, parse(text, "e.yaml"))
    (fault,) = caught.value.faults
    assert (fault.code, fault.path) == (code, path)


def test_lists_become_tuples_and_ints_floats_but_text_stays_text():
    text = "name: '1'\ncap: 2\npolicies: {p: {kind: fixed, limit: 3, knots: [{n: 1, ms: 2}]}}"
    plan = decode(Plan, parse(text, "e.yaml"))
    assert plan.policies["p"] == Fixed(3, knots=(Knot(1, 2.0),))
    assert isinstance(plan.cap, float)
    assert plan.policies["p"].seen == 7


def test_a_part_of_a_document_can_be_decoded():
    document = parse("a: [{n: 3}]", "e.yaml")
    assert decode(Knot, document, ("a", 0)) == Knot(3)


def test_all_faults_at_once_in_order_of_place():
    text = """
name: 3
nme: x
cap: x
class: tr
policies:
  p: {kind: fixed, limit: 0, limt: 2, share: .nan, seen: 1, order: fcsf, knots: [{n: 1, z: 2}, {}]}
  q: {limit: 1}
  r: {kind: fixd}
  s: {kind: fixed, limit: 13}
  t: 3
  u: {kind: nested, parts: [{kind: fixed, limit: 1}, {kind: fixed, limit: '1'}]}
  v: {kind: 3}
"""
    assert faults(text) == [
        "e.yaml:2:7: name: should be text (got 3)",
        "e.yaml:3:1: nme: unknown key (did you mean 'name'?)",
        'e.yaml:4:6: cap: should be a valid number (got "x")',
        "e.yaml:5:8: class: should be 'rt' or 'be' (got \"tr\")",
        "e.yaml:7:27: policies.p.limit: should be greater than 0 (got 0)",
        "e.yaml:7:30: policies.p.limt: unknown key (did you mean 'limit'?)",
        "e.yaml:7:46: policies.p.share: should be a finite number (got NaN)",
        "e.yaml:7:52: policies.p.seen: unknown key (known: file, knots, limit, order, share)",
        "e.yaml:7:68: policies.p.order: should be 'fcfs' or 'priority' (got \"fcsf\"; did you mean"
        " 'fcfs'?)",
        "e.yaml:7:89: policies.p.knots.0.z: unknown key (known: ms, n)",
        "e.yaml:7:96: policies.p.knots.1.n: this key is missing",
        "e.yaml:8:6: policies.q: the key 'kind' is missing (known: fixed, nested)",
        "e.yaml:9:13: policies.r.kind: there is no policy of kind 'fixd' (did you mean 'fixed'?)",
        "e.yaml:10:6: policies.s: limit 13 brings bad luck",
        "e.yaml:11:6: policies.t: should be a mapping with the key 'kind' (got 3)",
        'e.yaml:12:75: policies.u.parts.1.limit: should be a valid integer (got "1")',
        "e.yaml:13:13: policies.v.kind: should be text (got 3)",
    ]


@pytest.mark.parametrize("value", ["true", "1.0", "'1'", "1e3", "~", ".inf", "[1]"])
def test_an_integer_is_nothing_else(value):
    assert "n: should be a valid integer" in faults(f"n: {value}", Knot)[0]


def test_huge_numbers_are_no_overflow():
    assert "should be a finite number" in faults(f"{{n: 1, ms: 1{'0' * 390}}}", Knot)[0]
    assert "should be a finite number" in faults("{n: 1, ms: 1e999}", Knot)[0]


def test_relative_paths_start_from_the_folder_of_the_file(tmp_path):
    text = "{kind: fixed, limit: 1, file: traces/x.csv}"
    document = parse(f"name: a\npolicies: {{p: {text}}}", str(tmp_path / "e.yaml"))
    assert decode(Plan, document).policies["p"].file == tmp_path / "traces/x.csv"


def test_what_was_read_can_be_written_and_read_again():
    text = "name: a\npolicies: {p: {kind: nested, parts: [{kind: fixed, limit: 1}]}}"
    plan = decode(Plan, parse(text, "e.yaml"))
    written = plan.model_dump(mode="json", by_alias=True)
    assert written["policies"]["p"] == {
        "kind": "nested",
        "parts": [
            {
                "kind": "fixed", "limit": 1, "share": 0.5, "knots": [], "order": "fcfs",
                "file": None,
            }
        ],
    }  # fmt: skip
    assert Plan.model_validate(written) is not None


OWN = """
from dataclasses import dataclass

@dataclass
class Mine:
    limit: int = 3

@dataclass
class NoPolicy:
    x: int = 3

class Plain:
    limit = 3
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", ["", *__import__("sys").path])
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    (tmp_path / f"{name}_broken.py").write_text("raise RuntimeError('half done')")
    return name


def test_a_class_of_ones_own_is_found_beside_the_file(tmp_path, own_module):
    text = f"name: a\npolicies: {{p: {{kind: '{own_module}:Mine', limit: 5}}}}"
    plan = decode(Plan, parse(text, str(tmp_path / "e.yaml")))
    assert plan.policies["p"].limit == 5
    written = plan.model_dump(mode="json")["policies"]["p"]
    assert written == {"kind": f"{own_module}:Mine", "limit": 5}


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("no_such_module:X", "cannot import no_such_module: No module named 'no_such_module'"),
        ("{own}:Mne", "has no class Mne (did you mean 'Mine'?)"),
        ("{own}:Plain", "{own}:Plain is not a dataclass"),
        ("{own}:NoPolicy", "{own}:NoPolicy is no policy: it has no limit"),
        ("{own}_broken:X", "cannot import {own}_broken: half done"),
        (":X", "cannot import : Empty module name"),
        ("json:", "json has no class "),
    ],
)
def test_faults_of_ones_own_class(tmp_path, own_module, kind, what):
    text = f"name: a\npolicies:\n  p: {{kind: '{kind.format(own=own_module)}'}}"
    with pytest.raises(InputError) as caught:
        decode(Plan, parse(text, str(tmp_path / "e.yaml")))
    (fault,) = caught.value.lines
    assert f":3:13: policies.p.kind: {what.format(own=own_module)}" in fault or (
        what.format(own=own_module) in fault and ":3:13: policies.p.kind: " in fault
    )


def test_parameters_in_words():
    assert parameters(Fixed)[0] == Parameter("limit", "int > 0", "required", "most at a time")
    assert parameters(Fixed)[3].type == "fcfs | priority"
    assert parameters(Nested)[0].type == "list of a policy (fixed | nested)"
