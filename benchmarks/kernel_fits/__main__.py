"""`python -m benchmarks.kernel_fits TABLES DOCUMENT [--state]`: fit anew, compare, write."""

import argparse
from pathlib import Path

from benchmarks.kernel_fits.evidence import pairs
from benchmarks.kernel_fits.report import document
from benchmarks.kernel_fits.state import ship, state
from bros_sim.study.files import replace_file


def main() -> None:
    """Read kernel TABLES, write DOCUMENT; with --state also errors and uncertainty of profiles.

    --ship writes the re-made coefficients into the profiles as well, before all else.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernel_fits", description=main.__doc__
    )
    parser.add_argument("tables", type=Path)
    parser.add_argument("document", type=Path)
    parser.add_argument("--state", action="store_true")
    parser.add_argument("--ship", action="store_true")
    arguments = parser.parse_args()
    found = pairs(arguments.tables)
    if arguments.ship:
        ship(found)
        found = pairs(arguments.tables)
    replace_file(arguments.document, document(found, arguments.tables).encode())
    if arguments.state or arguments.ship:
        state(found)


if __name__ == "__main__":
    main()
