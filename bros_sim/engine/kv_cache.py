"""Contract of the KV managers.

A manager knows blocks and tokens, no time. A policy writes into an open draft (`extend`, `admit`,
`release`, `extend_decodes`); `commit` makes the draft permanent, `rollback` takes it back to a
mark. That is the only way in which planning touches the KV state.

Blocks of a decode-cohort member are not booked one by one: they follow from its token count, and
its block crossings are counted in bulk (`extend_decodes`, `advance`).
"""

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple, Protocol, runtime_checkable

from bros_sim.engine.sequence import JobView


class Direction(Enum):
    """Which way a copy between GPU and CPU memory goes."""

    TO_CPU = "to_cpu"
    TO_GPU = "to_gpu"


class Copy(NamedTuple):
    """KV of ``tokens`` slots of one job to be copied; the step that plans it waits for it.

    ``blocks``: whole blocks that a swap moves; 0 when single slots are checkpointed or restored.
    """

    direction: Direction
    tokens: int
    job: JobView
    blocks: int = 0


@runtime_checkable
class ChangesCost(Protocol):
    """A KV manager whose state changes what an iteration costs."""

    @property
    def spared_kv_tokens(self) -> int:
        """KV tokens of the decode cohort that an iteration reads for several members at once."""
        ...

    @property
    def pace(self) -> float:
        """Factor on the duration of every iteration."""
        ...


class KVManager(Protocol):
    """Who holds which KV blocks on one replica."""

    block_size: int
    num_gpu_blocks: int

    @property
    def can_lend(self) -> bool:
        """Whether real-time jobs can borrow blocks of pending best-effort jobs."""
        ...

    @property
    def reserves(self) -> bool:
        """Whether an admitted job holds all that ``max_tokens`` may need, and never lacks a block.

        If so, a request that would not fit with ``max_tokens`` of output can never run.
        """
        ...

    @property
    def usable_blocks(self) -> int:
        """Blocks that requests can hold."""
        ...

    @property
    def free_blocks(self) -> int:
        """Blocks that nobody holds now, the open draft included."""
        ...

    def mark(self) -> int:
        """A point in the open draft to roll back to."""
        ...

    def rollback(self, mark: int = 0) -> None:
        """Undo everything written since ``mark`` (default: the whole draft)."""
        ...

    def commit(self) -> None:
        """Make the open draft permanent."""
        ...

    def lookup(self, job: JobView) -> Sequence[object]:
        """The cached blocks that a waiting job's prefix hits, in order (opaque handles)."""
        ...

    def admit(
        self,
        job: JobView,
        num_tokens: int,
        hit: Sequence[object],
        *,
        must_fit: int,
        spare: int,
        lenders: Sequence[JobView] = (),
    ) -> bool:
        """Give a waiting job room for ``num_tokens`` tokens, those of ``hit`` included.

        Refused (False, nothing changed) unless ``must_fit`` tokens would fit as well, both with
        ``spare`` blocks left free. ``lenders``: see `extend`.
        """
        ...

    def extend(self, job: JobView, num_tokens: int, *, lenders: Sequence[JobView] = ()) -> bool:
        """Give a running job room for ``num_tokens`` tokens in all; False changes nothing.

        What the job lost or what lies on the CPU is brought back first. ``lenders`` are best-effort
        jobs outside the coming iteration whose blocks a real-time job may borrow where no block is
        free, the first of them first; a manager that cannot share blocks ignores them.
        """
        ...

    def extend_all(self, jobs: Sequence[JobView]) -> int:
        """Room for one more token of the first so many of these running jobs.

        As `extend` does for one after the other, up to the first one that has no room, or that
        would have to borrow, or first to get back what it lost.
        """
        ...

    def extend_decodes(self) -> bool:
        """Room for one more token of every cohort member, or False and nothing changed."""
        ...

    def swap_out(self, job: JobView) -> bool:
        """Move the job's whole KV to the CPU; False (nothing changed) if that cannot hold it."""
        ...

    @property
    def restores_nothing(self) -> bool:
        """Whether no job has tokens that live only on the CPU."""
        ...

    def blocks_to_restore(self, job: JobView) -> int:
        """Blocks of the job with tokens that live only on the CPU."""
        ...

    def take_copies(self) -> Sequence[Copy]:
        """The copies that the committed draft calls for; each is handed out once."""
        ...

    def release(self, job: JobView, *, resumable: bool) -> None:
        """Take every block of a job away (``resumable``: it was preempted and will be back).

        Within one draft, cohort members are released before `extend_decodes`.
        """
        ...

    def join(self, job: JobView) -> None:
        """The job enters the decode cohort (call before its counters become derived)."""
        ...

    def leave(self, job: JobView) -> None:
        """The job leaves the decode cohort and keeps its blocks (call before it is settled)."""
        ...

    def spare_iterations(self) -> int:
        """How many more decode iterations fit after the one just extended."""
        ...

    def advance(self, iterations: int) -> None:
        """The cohort decoded ``iterations`` tokens each; the first was extended by the plan."""
        ...

    def check(self, jobs: Iterable[JobView]) -> None:
        """Law L4, between steps: every block is held or free, none is both, none is lost.

        Raises:
            LawBroken: With the numbers, when that does not hold for the given running jobs.
        """
        ...
