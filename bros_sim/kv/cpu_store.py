"""KV that lives on the CPU: how much of it each job has there, and the copies to and fro."""

from collections.abc import Callable, Sequence, Set
from functools import partial

from bros_sim.engine.kv_cache import Copy, Direction
from bros_sim.engine.sequence import JobView


class CpuStore:
    """Room for ``capacity`` tokens on the CPU. Every change can be undone by the owner's journal.

    Room counts as given back when the copy back is called for: a draft does not wait for copies.
    """

    def __init__(self, capacity: int, on_undo: Callable[[Callable[[], object]], object]) -> None:
        self.capacity = capacity
        self.free = capacity
        self._on_undo = on_undo
        self._tokens: dict[int, int] = {}
        self._copies: list[Copy] = []

    def tokens(self, job: JobView) -> int:
        """Tokens of the job that live on the CPU."""
        return self._tokens.get(job.id, 0)

    def jobs(self) -> Set[int]:
        """Jobs that have tokens here, by id."""
        return self._tokens.keys()

    def save(self, job: JobView, tokens: int, blocks: int = 0) -> None:
        """Copy ``tokens`` of the job to the CPU; the caller has made sure that they fit."""
        self._move(job.id, tokens)
        self._call_for(Copy(Direction.TO_CPU, tokens, job, blocks))

    def load(self, job: JobView, tokens: int, blocks: int = 0) -> None:
        """Bring ``tokens`` of the job back to the GPU."""
        self._move(job.id, -tokens)
        self._call_for(Copy(Direction.TO_GPU, tokens, job, blocks))

    def forget(self, job: JobView) -> None:
        """Discard what the job has here, and the copies that the draft called for it."""
        if job.id in self._tokens:
            self._move(job.id, -self._tokens[job.id])
        kept = [copy for copy in self._copies if copy.job is not job]
        if len(kept) < len(self._copies):
            self._on_undo(partial(setattr, self, "_copies", self._copies))
            self._copies = kept

    def take_copies(self) -> Sequence[Copy]:
        """See `KVManager.take_copies`."""
        copies, self._copies = self._copies, []
        return copies

    def total(self) -> int:
        """Tokens of all jobs; with ``free`` it makes up the capacity."""
        return sum(self._tokens.values())

    def _move(self, job_id: int, tokens: int) -> None:
        self._shift(job_id, tokens)
        self._on_undo(partial(self._shift, job_id, -tokens))

    def _shift(self, job_id: int, tokens: int) -> None:
        self.free -= tokens
        held = self._tokens.pop(job_id, 0) + tokens
        if held:
            self._tokens[job_id] = held

    def _call_for(self, copy: Copy) -> None:
        """Add a copy; slots of one job that go the same way in a row make one copy."""
        if not copy.tokens:
            return
        last = self._copies[-1] if self._copies else None
        alike = last and last.job is copy.job and last.direction is copy.direction
        if last and alike and not (last.blocks or copy.blocks):
            self._copies[-1] = Copy(copy.direction, last.tokens + copy.tokens, copy.job)
            self._on_undo(partial(self._copies.__setitem__, -1, last))
        else:
            self._copies.append(copy)
            self._on_undo(self._copies.pop)
