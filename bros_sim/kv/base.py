"""What all KV managers share: a draft that can be undone, and none of the special abilities."""

from collections import abc
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from bros_sim.engine.kv_cache import Copy, KvImage
from bros_sim.engine.sequence import SequenceView
from bros_sim.kv.cpu_store import CpuStore

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


class BaseKV:
    """A manager that caches no prefix, lends no block, and swaps nothing out.

    Of a member of the decode cohort nothing is booked here; who counts crossings overrides `join`,
    `leave` and `advance`.
    """

    can_lend = False
    reserves = False

    def __init__(self, num_gpu_blocks: int, block_size: int, cpu_blocks: int = 0) -> None:
        self.num_gpu_blocks = num_gpu_blocks
        self.block_size = block_size
        self._journal = Journal()
        self._cpu = CpuStore(cpu_blocks * block_size, self._journal.on_undo)

    @property
    def spared_kv_tokens(self) -> int:
        return 0

    @property
    def pace(self) -> float:
        return 1.0

    @property
    def usable_blocks(self) -> int:
        """All but one, which vLLM and TGI never use."""
        return self.num_gpu_blocks - 1

    def mark(self) -> int:
        return self._journal.mark()

    def rollback(self, mark: int = 0) -> None:
        self._journal.rollback(mark)

    def commit(self) -> None:
        self._journal.commit()

    def lookup(self, seq: SequenceView) -> abc.Sequence[object]:
        return ()

    def import_(self, seq: SequenceView, image: KvImage) -> None:
        pass

    @property
    def restores_nothing(self) -> bool:
        return not self._cpu.seqs()

    def swap_out(self, seq: SequenceView) -> bool:
        return False

    def blocks_to_restore(self, seq: SequenceView) -> int:
        return self._blocks(self._cpu.tokens(seq))

    def take_copies(self) -> abc.Sequence[Copy]:
        return self._cpu.take_copies()

    def join(self, seq: SequenceView) -> None:
        pass

    def leave(self, seq: SequenceView) -> None:
        pass

    def advance(self, iterations: int) -> None:
        pass

    def _blocks(self, tokens: int) -> int:
        return -(-tokens // self.block_size)
