"""ConServe's KV cache (arXiv 2410.01228v2): best-effort KV is saved to the CPU while it is made.

KV is only ever appended to, so each iteration saves no more than what the last one added, in the
background; whoever is preempted later loses its GPU blocks at once and is prefetched when it comes
back, instead of recomputed. Read in digests of the paper, whose code is not public.

Exact: only best-effort KV is saved; each token is saved once, with the iteration after the one that
computed it; a preemption moves nothing; what was saved stays valid until the request has finished,
so that it can be preempted again at no cost.

Simplified:
- A block is saved when it is full, not token by token: the same bytes in larger portions. The last,
  partly filled block (and a block that filled in the very iteration before the preemption) is
  recomputed. So whole blocks come back, as they do from the prefix cache, and every scheduler that
  looks up what is cached (`KVManager.lookup`) can use them; one that does not recomputes all.
- The prefetch is part of the iteration that admits the request again (it overlaps with its forward
  pass, and the step waits for the later of the two); the paper starts it some iterations before.
- Gathering scattered KV into a buffer costs nothing (the paper: below 0.5 ms).
- When the CPU is full, later blocks wait until there is room (inferred: the paper's host has 2 TB).
"""

import sys
from collections import abc
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from bros_sim.core.errors import LawBroken
from bros_sim.core.request import ServiceClass
from bros_sim.engine.kv_cache import Copy, Direction
from bros_sim.engine.sequence import Seqs, SequenceView
from bros_sim.kv.paged import PagedKV

if TYPE_CHECKING:
    from bros_sim.kv.parameters import EagerCheckpointParameters


class SavedBlock(NamedTuple):
    """A block of a preempted request's tokens that lies on the CPU: a handle of `lookup`."""

    key: tuple[str, int, int]


class EagerCheckpointKV(PagedKV):
    """`PagedKV` in which preempted best-effort requests get back from the CPU what the GPU lost.

    What the prefix cache still holds is hit on the GPU. Nothing is swapped: preemption is cheaper.
    """

    def __init__(self, parameters: "EagerCheckpointParameters") -> None:
        super().__init__(parameters)
        self.cpu_blocks = parameters.cpu_blocks
        self._room = parameters.cpu_blocks
        self._saved: dict[int, int] = {}
        """Leading blocks on the CPU, by best-effort request, whether it runs or waits."""
        self._copies: list[Copy] = []
        self._granted: dict[int, SequenceView] = {}
        """Best-effort requests outside the cohort that compute in the coming iteration."""
        self._unsaved: dict[int, SequenceView] = {}
        """Those that did in the last one, and those for whom the CPU had no room."""
        self._filling: list[dict[int, SequenceView]] = [{} for _ in range(self.block_size)]
        """Best-effort members of the cohort by phase (`Crossings.add`): one fills at a time."""
        self._copying = False

    def lookup(self, seq: SequenceView) -> abc.Sequence[object]:
        """What the GPU still holds, then what was saved beyond it: never the last token."""
        hit: list[object] = list(super().lookup(seq))
        beyond = range(len(hit), self._saved.get(seq.id, 0))
        hit += [SavedBlock(("saved", seq.id, i)) for i in beyond]
        return hit

    def admit(
        self, seq: SequenceView, num_tokens: int, hit: abc.Sequence[object], *,
        must_fit: int, spare: int, lenders: Seqs = (),
    ) -> bool:  # fmt: skip
        """Saved blocks of ``hit`` need a free block each, and a copy."""
        if not super().admit(seq, num_tokens, hit, must_fit=must_fit, spare=spare, lenders=lenders):
            return False
        back = sum(isinstance(block, SavedBlock) for block in hit)
        if back:
            self._copies.append(Copy(Direction.TO_GPU, back * self.block_size, seq))
            self._journal.on_undo(self._copies.pop)
        self._grant(seq)
        return True

    def extend(self, seq: SequenceView, num_tokens: int, *, lenders: Seqs = ()) -> bool:
        fits = super().extend(seq, num_tokens, lenders=lenders)
        if fits:
            self._grant(seq)
        return fits

    def _grant(self, seq: SequenceView) -> None:
        """Look at a request outside the cohort again when it has computed."""
        if _is_saved(seq) and not seq.decoding and seq.id not in self._granted:
            self._journal.put(self._granted, seq.id, seq)

    def take_copies(self) -> abc.Sequence[Copy]:
        """The blocks that the last iteration filled go to the CPU."""
        self._unsaved |= self._filling[self._crossings.next]
        if self._room:
            for number in sorted(self._unsaved):
                self._save(self._unsaved.pop(number))
        self._unsaved |= self._granted
        self._granted.clear()
        copies, self._copies = self._copies, []
        self._copying = bool(copies)
        return copies

    def _save(self, seq: SequenceView) -> None:
        saved = self._saved.get(seq.id, 0)
        full = seq.num_computed // self.block_size - saved
        new = min(full, self._room)
        if new > 0:
            self._saved[seq.id] = saved + new
            self._room -= new
            self._copies.append(Copy(Direction.TO_CPU, new * self.block_size, seq))
        if new < full:
            self._unsaved[seq.id] = seq

    def swap_out(self, seq: SequenceView) -> bool:
        return False

    def release(self, seq: SequenceView, *, resumable: bool) -> None:
        """A resumable request keeps what it has on the CPU."""
        super().release(seq, resumable=resumable)
        if not _is_saved(seq):
            return
        filling = [self._filling[self._phase(seq)]] if seq.decoding else []
        for table in (self._unsaved, *filling):
            if seq.id in table:
                self._journal.pop(table, seq.id)
        if any(copy.seq.id == seq.id for copy in self._copies):
            self._journal.set(self, "_copies", [x for x in self._copies if x.seq.id != seq.id])
        if not resumable and seq.id in self._saved:
            self._journal.set(self, "_room", self._room + self._saved[seq.id])
            self._journal.pop(self._saved, seq.id)

    def join(self, seq: SequenceView) -> None:
        super().join(seq)
        if _is_saved(seq):
            self._filling[self._phase(seq)][seq.id] = seq

    def leave(self, seq: SequenceView) -> None:
        super().leave(seq)
        if _is_saved(seq):
            del self._filling[self._phase(seq)][seq.id]

    def _phase(self, seq: SequenceView) -> int:
        return (seq.num_computed + self._crossings.next) % self.block_size

    def spare_iterations(self) -> int:
        """An iteration with copies is planned by itself."""
        if self._copying:
            return 0
        return min(super().spare_iterations(), self._until_a_block_fills() - 1)

    def _until_a_block_fills(self) -> int:
        """Iterations of the cohort until one of them fills a block that is to be saved."""
        if not self.cpu_blocks:
            return sys.maxsize
        ahead = range(1, self.block_size + 1)
        due = self._crossings.next
        return next((i for i in ahead if self._filling[due - i]), sys.maxsize)

    def check(self, seqs: Iterable[SequenceView]) -> None:
        """As `PagedKV.check`, for the CPU's room as well."""
        running = list(seqs)
        super().check(running)
        room, held, own = self._room, sum(self._saved.values()), self.cpu_blocks
        if room < 0 or room + held != own:
            raise LawBroken(f"L4: room for {room} + {held} saved != {own} blocks on the CPU")
        saved = [seq for seq in running if _is_saved(seq)]
        for seq in saved:
            if self._saved.get(seq.id, 0) * self.block_size >= seq.num_tokens:
                raise LawBroken(f"L4: request {seq.id} has more on the CPU than it ever computed")
        phases = {i: p for p, members in enumerate(self._filling) for i in members}
        expected = {seq.id: self._phase(seq) for seq in saved if seq.decoding}
        if phases != expected:
            raise LawBroken(f"L4: blocks filling by phase {phases}, members {expected}")


def _is_saved(seq: SequenceView) -> bool:
    return seq.service_class is ServiceClass.BE
