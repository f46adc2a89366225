"""What tables, legends, messages and file names call things."""

from collections.abc import Iterable


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """For each path its shortest ending (whole parts) that no other of the paths has."""
    known = list(paths)
    return {path: _shortest(path, known) for path in known}


def counted(number: int, what: str) -> str:
    """``1 seed``, ``12,345 requests``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _shortest(path: str, known: list[str]) -> str:
    parts = path.split(".")
    for n in range(1, len(parts)):
        ending = ".".join(parts[-n:])
        if sum(f".{other}".endswith(f".{ending}") for other in known) == 1:
            return ending
    return path
