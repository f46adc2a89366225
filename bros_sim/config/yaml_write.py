"""Plain data -> YAML text in block style.

ruamel.yaml does this too, at a fiftieth of the speed: a sweep of a thousand points would begin with
twenty seconds of writing.
"""

import json
import re
from collections.abc import Iterator

from bros_sim.config.documents import Data

PLAIN = re.compile(r"[A-Za-z_][\w./+-]*")
"""Text that needs no quotes, unless it is one of WORDS."""
WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
"""Text that some YAML would read as something else, in any case of letters."""


def yaml_text(data: dict[str, Data]) -> str:
    """YAML that reads as ``data``: mappings, lists, text, finite numbers, booleans and None."""
    return "\n".join(_lines(data)) + "\n"


def _lines(value: Data) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from _entry(f"{_scalar(key)}:", below)
    elif isinstance(value, list) and value:
        for item in value:
            first, *rest = _lines(item)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
    else:
        yield _scalar(value)


def _entry(head: str, below: Data) -> Iterator[str]:
    if isinstance(below, dict | list) and below:
        yield head
        indent = "  " if isinstance(below, dict) else ""
        yield from (indent + line for line in _lines(below))
    else:
        yield f"{head} {_scalar(below)}"


def _scalar(value: Data) -> str:
    """Text without quotes where that is safe; all else as in JSON, which is YAML."""
    if not isinstance(value, str):
        return json.dumps(value)
    if PLAIN.fullmatch(value) and value.lower() not in WORDS:
        return value
    safe = (c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in value)
    return f'"{"".join(safe)}"'
