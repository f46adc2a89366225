"""Which of the long tests belong to a commit: CI runs one slice of them after `make test`."""

from collections.abc import Iterable

SLICES = 12


def in_slice(nodes: Iterable[str], commit: str) -> list[str]:
    """The tests of a commit's slice: every twelfth in the order of their names.

    Parts of one campaign have names in a row, so that each slice has its share of them.

    Args:
        nodes: Names of all long tests, each once.
        commit: Hash of a commit in hexadecimal, in full or short.

    Raises:
        ValueError: The hash is not hexadecimal.
    """
    return sorted(nodes)[int(commit[:7], 16) % SLICES :: SLICES]
