"""The pool of KV blocks: free list, prefix-cache index, and the draft that can be undone.

vLLM V1's BlockPool (block_pool.py). Blocks that no request can ever hit are anonymous and kept in
runs; only blocks whose content can be hit are objects. The order of the free list, which decides
what is evicted next, is vLLM's own.
"""

from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import NamedTuple

from bros_sim.kv.base import Journal

Key = Hashable


class Block:
    """A block whose content may be hit (``key``), or a run of anonymous free blocks (None).

    ``count`` is the number of blocks it stands for in the free list, whose links it carries.
    """

    __slots__ = ("count", "key", "next", "prev", "refs")

    def __init__(self, key: Key | None, count: int = 1) -> None:
        self.key = key
        self.count = count
        self.refs = 0 if key is None else 1
        self.prev = self
        self.next = self


class ImportedBlock(NamedTuple):
    """A block of KV that another engine computed: a handle of `lookup`."""

    key: Key


class FreeList:
    """Doubly linked list of free blocks, first to be reused first; every change can be undone.

    A block taken out keeps its links, so undoing in reverse order puts it back where it was.
    """

    def __init__(self) -> None:
        self._end = Block(None, 0)

    def end(self, *, first: bool = True) -> Block:
        """The block to be reused next, or last; an empty run when the list is empty."""
        return self._end.next if first else self._end.prev

    def __iter__(self) -> Iterator[Block]:
        block = self._end.next
        while block is not self._end:
            yield block
            block = block.next

    def put(self, block: Block, *, first: bool = False) -> Callable[[], object]:
        """Insert at the head or the tail; returns what undoes it."""
        undo = partial(self._unlink, block, block.prev, block.next)
        block.prev = self._end if first else self._end.prev
        block.next = block.prev.next
        self._link(block)
        return undo

    def remove(self, block: Block) -> Callable[[], object]:
        """Take out; returns what undoes it."""
        block.prev.next, block.next.prev = block.next, block.prev
        return partial(self._link, block)

    def _link(self, block: Block) -> None:
        block.prev.next = block.next.prev = block

    def _unlink(self, block: Block, prev: Block, following: Block) -> None:
        block.prev.next, block.next.prev = block.next, block.prev
        block.prev, block.next = prev, following


class BlockPool:
    """``blocks`` blocks, all free at first. Every change is noted in the journal of the draft.

    Without ``caching`` no content is ever hit, so nothing but the number of free blocks is kept.
    ``unhashed_first``: blocks without a hash are reused first (vLLM 0.33.0), not in order of
    release (0.13.0 and before).
    """

    def __init__(
        self, blocks: int, journal: Journal, *, caching: bool, unhashed_first: bool
    ) -> None:
        self.free = blocks
        self._caching = caching
        self._unhashed_first = unhashed_first
        self._list = FreeList()
        self._list.put(Block(None, blocks))
        self._cached: dict[Key, list[Block]] = {}
        self._journal = journal

    def cached(self, key: Key) -> Block | None:
        """The block to hit for ``key``: the oldest one with that content."""
        blocks = self._cached.get(key)
        return blocks[0] if blocks else None

    def register(self, key: Key) -> Block:
        """A block in use, just taken, whose content can be hit from now on."""
        block = Block(key)
        self._remember(block, len(self._cached.get(key, ())))
        self._journal.on_undo(partial(self._forget, block))
        return block

    def touch(self, block: Block) -> None:
        """One more request holds a cached block; it leaves the free list."""
        if block.refs == 0:
            self._journal.on_undo(self._list.remove(block))
            self._add_free(-1)
        self._journal.set(block, "refs", block.refs + 1)

    def take(self, count: int) -> None:
        """Take ``count`` blocks from the head of the free list, evicting what they cached."""
        if not count:
            return
        self._add_free(-count)
        while count and self._caching:
            head = self._list.end()
            size = min(head.count, count)
            if size == head.count:
                self._journal.on_undo(self._list.remove(head))
                self._evict(head)
            else:
                self._journal.set(head, "count", head.count - size)
            count -= size

    def give(self, count: int, *, hashed: bool) -> None:
        """Free ``count`` blocks that nobody can hit (``hashed``: vLLM had cached them)."""
        if not count:
            return
        self._add_free(count)
        if not self._caching:
            return
        first = self._unhashed_first and not hashed
        neighbour = self._list.end(first=first)
        if neighbour.key is None and neighbour.count:
            self._journal.set(neighbour, "count", neighbour.count + count)
        else:
            self._journal.on_undo(self._list.put(Block(None, count), first=first))

    def drop(self, block: Block) -> None:
        """One request less holds the block; when nobody does, it joins the free list's tail."""
        self._journal.set(block, "refs", block.refs - 1)
        if block.refs == 0:
            self._add_free(1)
            self._journal.on_undo(self._list.put(block))

    def listed(self) -> int:
        """Blocks in the free list; equals ``free``."""
        return sum(block.count for block in self._list) if self._caching else self.free

    def _add_free(self, count: int) -> None:
        self._journal.set(self, "free", self.free + count)

    def _evict(self, block: Block) -> None:
        if block.key is not None:
            position = self._cached[block.key].index(block)
            self._journal.on_undo(partial(self._remember, block, position))
            self._forget(block)

    def _remember(self, block: Block, position: int) -> None:
        self._cached.setdefault(block.key, []).insert(position, block)

    def _forget(self, block: Block) -> None:
        siblings = self._cached[block.key]
        siblings.remove(block)
        if not siblings:
            del self._cached[block.key]
