"""The tables of columns in the documents are those of the registry.

After a change of `core/columns.py`: `pytest tests/docs/test_docs_columns.py --update-golden`.
"""

import re

import pytest
from doc_blocks import ROOT

from bros_sim.core.columns import TABLES

DOCUMENTS = {"requests": "results.md", "steps": "results.md", "engines": "results.md",
             "decisions": "explain.md"}  # fmt: skip


def written(name: str) -> str:
    columns = [column for column in TABLES[name] if column.stored]
    told = len({column.source for column in columns}) > 1
    rows = [("column", "unit", "from", "meaning"), ("---",) * 4]
    rows += [(f"`{c.name}`", c.unit, c.source, c.text) for c in columns]
    return "".join(
        f"| {' | '.join(cells if told else (*cells[:2], cells[3]))} |\n" for cells in rows
    )


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_table_is_current(name, request):
    document = ROOT / "docs" / DOCUMENTS[name]
    table = re.compile(rf"(?<=<!-- columns: {name} -->\n)(\|[^\n]*\n)*")
    if request.config.getoption("--update-golden"):
        text = document.read_text(encoding="utf-8")
        document.write_text(table.sub(lambda _: written(name), text), encoding="utf-8")
    assert table.search(document.read_text(encoding="utf-8"))[0] == written(name)
