"""What verbs print: results on stdout, progress and diagnostics on stderr."""

import json
import sys


def say(line: str) -> None:
    """One line of diagnostics."""
    sys.stderr.write(f"{line}\n")


def write(text: str) -> None:
    """One line of the result, or several."""
    sys.stdout.write(f"{text}\n")


def write_json(content: object) -> None:
    """The result as JSON."""
    write(json.dumps(content, indent=1, default=str))
