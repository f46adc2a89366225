"""`python -m benchmarks.related RESULTS DOCUMENT`: the document from result folders."""

import argparse
from pathlib import Path

from benchmarks.related.tables import answer, kunserve, lockstep, opened, reading, refrag, relay
from bros_sim.study.files import replace_file

TEMPLATE = Path(__file__).with_name("template.md")


def main() -> None:
    """Read RESULTS/{relay-attention,refrag,kunserve-like}, write DOCUMENT."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.related", description=main.__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("document", type=Path)
    arguments = parser.parse_args()
    folder: Path = arguments.results
    shared = opened(folder / "relay-attention")
    compressed, burst = opened(folder / "refrag"), opened(folder / "kunserve-like")
    least, most = lockstep(burst)
    text = TEMPLATE.read_text().format(
        relay=relay(shared),
        **reading(shared),
        refrag=refrag(compressed),
        answer=f"{answer(compressed):.0f}",
        kunserve=kunserve(burst),
        least=f"{least:.2f}",
        most=f"{most:.2f}",
    )
    replace_file(arguments.document, text.encode())


if __name__ == "__main__":
    main()
