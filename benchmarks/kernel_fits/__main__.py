"""`python -m benchmarks.kernel_fits TABLES DOCUMENT [--state]`: fit anew, compare, write."""

import argparse
from pathlib import Path

from benchmarks.kernel_fits.evidence import pairs
from benchmarks.kernel_fits.report import document
from benchmarks.kernel_fits.state import state
from bros_sim.study.files import replace_file


def main() -> None:
    """Read kernel TABLES, write DOCUMENT; with --state also errors and uncertainty of profiles."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernel_fits", description=main.__doc__
    )
    parser.add_argument("tables", type=Path)
    parser.add_argument("document", type=Path)
    parser.add_argument("--state", action="store_true")
    arguments = parser.parse_args()
    found = pairs(arguments.tables)
    replace_file(arguments.document, document(found, arguments.tables).encode())
    if arguments.state:
        state(found)


if __name__ == "__main__":
    main()
