"""What `make compile` compiles is there, and keeps to what mypyc can compile."""

import ast
from pathlib import Path

import pytest

from benchmarks import compiled

PACKAGE = compiled.ROOT / "bros_sim"
FILES = compiled.sources(PACKAGE)
NEVER = {"ClassVar", "runtime_checkable", "Annotated", "cached_property"}
"""mypyc rejects them, or what it makes of them does not import or is not what is meant."""


def _names(tree: ast.Module) -> set[str]:
    loaded = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return loaded | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


@pytest.mark.parametrize("room", compiled.ROOMS)
def test_every_room_to_compile_has_files(room):
    path = PACKAGE / room
    assert [file for file in FILES if file == path or path in file.parents]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_mypyc_can_compile_a_file(file: Path):
    assert file.is_file()
    assert not _names(ast.parse(file.read_text())) & NEVER


def test_classes_that_are_open_to_subclasses_are_compiled():
    trees = [ast.parse(file.read_text()) for file in FILES]
    names = {node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}
    assert set(compiled.SUBCLASSED) <= names
