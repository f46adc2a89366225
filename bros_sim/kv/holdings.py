"""What a request of the bidirectional KV cache holds, and the blocks that need an object."""

from dataclasses import dataclass, field

from bros_sim.core.request import ServiceClass
from bros_sim.engine.sequence import SequenceView


@dataclass(slots=True, eq=False)
class Holding:
    """The KV of one sequence."""

    seq: SequenceView
    tokens: int = 0
    """Room in tokens, or tokens on the CPU when swapped out; of a cohort member it is derived."""
    swapped: bool = False
    shared: "dict[int, SharedBlock]" = field(default_factory=dict)
    """Those of its blocks that are objects, by index."""
    damaged: int = 0
    """Blocks with tokens that were overwritten."""
    phase: int = -1
    """Of a cohort member: see `Crossings.add`; -1 outside the cohort."""
    top: int = -1
    """No block above this index can be lent: a hint that saves looking at lent ones."""
    relocated: int = 0
    """Blocks copied within the GPU because a real-time request was in the way."""

    @property
    def real_time(self) -> bool:
        """The side it is on: real-time left, best-effort right."""
        return self.seq.service_class is ServiceClass.RT


@dataclass(slots=True, eq=False)
class SharedBlock:
    """A BE request's block that an RT request shares, or whose newest tokens are lost."""

    be: Holding
    be_index: int
    rt: Holding | None = None
    rt_index: int = -1
    lost: int = 0
    """Newest best-effort tokens of the block that live only on the CPU."""
