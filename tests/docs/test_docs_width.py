"""Lines of the documents fit on a screen; tables and what commands print may be wider."""

import pytest
from doc_blocks import DOCUMENTS, ROOT, blocks

COLUMNS = 120


def printed(document):
    """The numbers of the lines in blocks of output."""
    return {
        block.line + number
        for block in blocks(document)
        if block.language == "text"
        for number in range(block.text.count("\n"))
    }


@pytest.mark.parametrize(
    "document",
    DOCUMENTS,
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_lines_are_at_most_120_columns(document):
    wide = printed(document)
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
        if number in wide or line.startswith(("|", "![", "### `")):  # tables, figures
            continue
        assert len(line) <= COLUMNS, f"{document.name}:{number}: {len(line)} columns"
