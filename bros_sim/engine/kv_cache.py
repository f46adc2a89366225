"""Contract of the KV managers.

A manager knows blocks and tokens, no time. Planning touches it in one way: a policy writes into an
open draft (`extend`, `admit`, `release`, `extend_decodes`), and may take it back to a mark of its
own (`rollback`). What an engine writes between two plans goes into the draft of the next one and is
seen at once; `commit` makes a draft permanent, once an iteration.

Blocks of a decode-cohort member are not booked one by one: they follow from its token count, and
its block crossings are counted in bulk (`extend_decodes`, `advance`).
"""

from collections import abc
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple, Protocol

from bros_sim.engine.sequence import Seqs, SequenceView


class Direction(Enum):
    """Which way a copy between GPU and CPU memory goes."""

    TO_CPU = "to_cpu"
    TO_GPU = "to_gpu"


class Copy(NamedTuple):
    """KV of ``tokens`` slots of one request to be copied; the step that plans it waits for it.

    ``blocks``: whole blocks that a swap moves; 0 when single slots are checkpointed or restored.
    """

    direction: Direction
    tokens: int
    seq: SequenceView
    blocks: int = 0


class KvImage(NamedTuple):
    """The KV with which a sequence leaves an engine: tokens computed, in blocks of a size."""

    tokens: int
    block_size: int


class KVManager(Protocol):
    """Who holds which KV blocks on one replica."""

    block_size: int
    num_gpu_blocks: int

    can_lend: bool
    """Whether real-time requests can borrow blocks of pending best-effort requests."""
    reserves: bool
    """Whether who is admitted holds all that ``max_tokens`` may need, and never lacks a block; a
    request that would not fit with ``max_tokens`` of output can then never run."""

    @property
    def usable_blocks(self) -> int:
        """Blocks that requests can hold."""

    @property
    def free_blocks(self) -> int:
        """Blocks that nobody holds now, the open draft included."""

    @property
    def spared_kv_tokens(self) -> int:
        """KV tokens of the decode cohort that an iteration reads for several members at once."""

    @property
    def pace(self) -> float:
        """Factor on the duration of every iteration."""

    def import_(self, seq: SequenceView, image: KvImage) -> None:
        """A request with this KV is about to wait; where that is of use, `lookup` finds it."""

    def mark(self) -> int:
        """A point in the open draft to roll back to."""

    def rollback(self, mark: int = 0) -> None:
        """Undo everything written since ``mark`` (default: the whole draft)."""

    def commit(self) -> None:
        """Make the open draft permanent: the iteration that it plans is under way."""

    def lookup(self, seq: SequenceView) -> abc.Sequence[object]:
        """The cached blocks that a waiting request's prefix hits, in order (opaque handles)."""

    def admit(
        self, seq: SequenceView, num_tokens: int, hit: abc.Sequence[object], *,
        must_fit: int, spare: int, lenders: Seqs = (),
    ) -> bool:  # fmt: skip
        """Give a waiting request room for ``num_tokens`` tokens, those of ``hit`` included.

        Refused (False, nothing changed) unless ``must_fit`` tokens would fit as well, both with
        ``spare`` blocks left free. ``lenders``: see `extend`.
        """

    def extend(self, seq: SequenceView, num_tokens: int, *, lenders: Seqs = ()) -> bool:
        """Give a running request room for ``num_tokens`` tokens in all; False changes nothing.

        What lies on the CPU is brought back first. ``lenders``: best-effort requests outside the
        coming iteration whose blocks a real-time request may borrow where none is free, in order; a
        manager that cannot share blocks ignores them.
        """

    def extend_all(self, seqs: Seqs) -> int:
        """Room for one more token of the first so many of these running requests.

        It ends at the first one without room, or that would have to borrow or get something back.
        """

    def extend_decodes(self) -> bool:
        """Room for one more token of every cohort member, or False and nothing changed."""

    def swap_out(self, seq: SequenceView) -> bool:
        """Move all of its KV to the CPU; False (nothing changed) if that cannot hold it."""

    @property
    def restores_nothing(self) -> bool:
        """Whether no request has tokens that live only on the CPU."""

    def blocks_to_restore(self, seq: SequenceView) -> int:
        """Blocks of the request with tokens that live only on the CPU."""

    def take_copies(self) -> abc.Sequence[Copy]:
        """The copies that the committed draft calls for; each is handed out once."""

    def release(self, seq: SequenceView, *, resumable: bool) -> None:
        """Take every block of a request away (``resumable``: it was preempted and will be back).

        Within one draft, cohort members are released before `extend_decodes`.
        """

    def join(self, seq: SequenceView) -> None:
        """The request enters the decode cohort (call before its counters become derived)."""

    def leave(self, seq: SequenceView) -> None:
        """The request leaves the decode cohort and keeps its blocks (call before it is settled)."""

    def spare_iterations(self) -> int:
        """How many more decode iterations fit after the one just extended."""

    def advance(self, iterations: int) -> None:
        """The cohort decoded ``iterations`` tokens each; the first was extended by the plan.

        0: an iteration ended in which it stalled. Until then what the plan extended stays so.
        """

    def check(self, seqs: Iterable[SequenceView]) -> None:
        """Law L4: every block is held or free, none is both, none is lost.

        Raises:
            LawBroken: It does not hold for the given running requests.
        """
