"""The undo journal of an open draft: every change is written down with what undoes it."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Journal:
    """Changes since the last `commit`, undone in reverse order by `rollback`."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], object]] = []

    def mark(self) -> int:
        """A point to roll back to."""
        return len(self._undo)

    def rollback(self, mark: int) -> None:
        """Undo every change since ``mark``."""
        while len(self._undo) > mark:
            self._undo.pop()()

    def commit(self) -> None:
        """Make every change permanent."""
        self._undo.clear()

    def on_undo(self, action: Callable[[], object]) -> None:
        """Have ``action`` called when the change just made is rolled back."""
        self._undo.append(action)

    def set(self, target: object, name: str, value: object) -> None:
        """Assign an attribute."""
        self._undo.append(partial(setattr, target, name, getattr(target, name)))
        setattr(target, name, value)

    def put(self, table: dict[K, V], key: K, value: V) -> None:
        """Add an entry whose key is not there yet."""
        table[key] = value
        self._undo.append(partial(table.pop, key))

    def pop(self, table: dict[K, V], key: K) -> V:
        """Remove an entry and return it."""
        value = table.pop(key)
        self._undo.append(partial(table.__setitem__, key, value))
        return value
