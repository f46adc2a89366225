"""Links lead somewhere, and files that the prose names are there."""

import re
from pathlib import Path

import pytest
from doc_blocks import DOCUMENTS, ROOT, inline_code, links, prose

ANY_OF_THESE = re.compile(
    r"(?<![\w./-])(?:bros_sim|docs|tests|benchmarks|experiments|profiles|traces|notebooks)"
    r"/[\w/-]+(?:\.\w+)*(?![\w<*])/?"
)
SOURCE = re.compile(r"(?:\w+/)*\w+\.py")
SOURCES = [f"/{path.relative_to(ROOT)}" for path in (ROOT / "bros_sim").rglob("*.py")]


def each(test):
    return pytest.mark.parametrize(
        "document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
    )(test)


@each
def test_relative_links_exist(document):
    for line, target in links(document):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = document.parent / path if path else document
        assert there.exists(), f"{document.name}:{line}: {target}"
        assert not anchor or anchor in anchors(there), f"{document.name}:{line}: {target}"


def anchors(document: Path) -> set[str]:
    headings = (line.lstrip("# ") for _, line in prose(document) if line.startswith("#"))
    return {re.sub(r"[^\w -]", "", text).strip().lower().replace(" ", "-") for text in headings}


@each
def test_paths_in_the_prose_exist(document):
    text = "\n".join(line for _, line in prose(document))
    for path in ANY_OF_THESE.findall(text):
        assert (ROOT / path.rstrip(".")).exists(), f"{document.name}: {path}"


@each
def test_sources_in_the_prose_exist(document):
    """`replica.py` and `kv/pool.py` are somewhere in bros_sim/."""
    for line, code in inline_code(document):
        if SOURCE.fullmatch(code):
            known = any(path.endswith(f"/{code}") for path in SOURCES)
            assert known or (ROOT / code).exists(), f"{document.name}:{line}: {code}"
