"""Components that read a file."""

from dataclasses import fields
from typing import Any


class FromFile:
    """Keeps what it has read, and is pickled without it: each process reads the file itself.

    The base of a frozen dataclass.
    """

    def __getstate__(self) -> dict[str, object]:
        """The parameters, not the content of the file."""
        own: Any = self
        return {field.name: getattr(own, field.name) for field in fields(own)}
