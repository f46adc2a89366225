"""What tables, legends, messages and file names call things."""

from collections.abc import Iterable


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """For each path its shortest ending (whole parts) that no other of the paths has."""
    known = [f".{path}" for path in paths]
    return {path[1:]: _shortest(path, known) for path in known}


def _shortest(path: str, known: list[str]) -> str:
    start = len(path)
    while (start := path.rfind(".", 0, start)) > 0:
        if sum(other.endswith(path[start:]) for other in known) == 1:
            break
    return path[start + 1 :]


def counted(number: int, what: str) -> str:
    """``1 seed``, ``12,345 requests``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
