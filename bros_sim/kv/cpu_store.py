"""KV that lives on the CPU: how much of it each request has there, and the copies to and fro."""

from collections import abc
from collections.abc import Callable, Set
from functools import partial

from bros_sim.engine.kv_cache import Copy, Direction
from bros_sim.engine.sequence import SequenceView


class CpuStore:
    """Room for ``capacity`` tokens on the CPU, free again when the copy back is called for."""

    def __init__(self, capacity: int, on_undo: Callable[[Callable[[], object]], object]) -> None:
        self.capacity = capacity
        self.free = capacity
        self._on_undo = on_undo
        self._tokens: dict[int, int] = {}
        self._copies: list[Copy] = []

    def tokens(self, seq: SequenceView) -> int:
        """Tokens of the request that live on the CPU."""
        return self._tokens.get(seq.id, 0)

    def seqs(self) -> Set[int]:
        """Requests that have tokens here, by id."""
        return self._tokens.keys()

    def save(self, seq: SequenceView, tokens: int, blocks: int = 0) -> None:
        """Copy ``tokens`` of the request to the CPU; the caller has made sure that they fit."""
        self._move(seq.id, tokens)
        self._call_for(Copy(Direction.TO_CPU, tokens, seq, blocks))

    def load(self, seq: SequenceView, tokens: int, blocks: int = 0) -> None:
        """Bring ``tokens`` of the request back to the GPU."""
        self._move(seq.id, -tokens)
        self._call_for(Copy(Direction.TO_GPU, tokens, seq, blocks))

    def forget(self, seq: SequenceView) -> None:
        """Discard what the request has here, and the copies that the draft called for it."""
        if seq.id in self._tokens:
            self._move(seq.id, -self._tokens[seq.id])
        kept = [copy for copy in self._copies if copy.seq is not seq]
        if len(kept) < len(self._copies):
            self._on_undo(partial(setattr, self, "_copies", self._copies))
            self._copies = kept

    def take_copies(self) -> abc.Sequence[Copy]:
        copies, self._copies = self._copies, []
        return copies

    def total(self) -> int:
        """Tokens of all requests; with ``free`` it makes up the capacity."""
        return sum(self._tokens.values())

    def _move(self, seq_id: int, tokens: int) -> None:
        self._shift(seq_id, tokens)
        self._on_undo(partial(self._shift, seq_id, -tokens))

    def _shift(self, seq_id: int, tokens: int) -> None:
        self.free -= tokens
        held = self._tokens.pop(seq_id, 0) + tokens
        if held:
            self._tokens[seq_id] = held

    def _call_for(self, copy: Copy) -> None:
        """Add a copy; slots of one request that go the same way in a row make one copy."""
        if not copy.tokens:
            return
        last = self._copies[-1] if self._copies else None
        alike = last and last.seq is copy.seq and last.direction is copy.direction
        if last and alike and not (last.blocks or copy.blocks):
            self._copies[-1] = Copy(copy.direction, last.tokens + copy.tokens, copy.seq)
            self._on_undo(partial(self._copies.__setitem__, -1, last))
        else:
            self._copies.append(copy)
            self._on_undo(self._copies.pop)
