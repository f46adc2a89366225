"""What all KV managers share: a draft that can be undone, and none of the special abilities."""

from collections import abc

from bros_sim.engine.kv_cache import Copy, KvImage
from bros_sim.engine.sequence import SequenceView
from bros_sim.kv.journal import Journal


class BaseKV:
    """A manager that caches no prefix, copies nothing to the CPU and lends no block.

    Of a member of the decode cohort nothing is booked here; who counts crossings overrides `join`,
    `leave` and `advance`.
    """

    def __init__(self, num_gpu_blocks: int, block_size: int) -> None:
        self.num_gpu_blocks = num_gpu_blocks
        self.block_size = block_size
        self._journal = Journal()

    @property
    def can_lend(self) -> bool:
        return False

    @property
    def reserves(self) -> bool:
        return False

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

    # -- the draft ------------------------------------------------------------------------------

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

    # -- copies to and from the CPU -------------------------------------------------------------

    @property
    def restores_nothing(self) -> bool:
        return True

    def swap_out(self, seq: SequenceView) -> bool:
        return False

    def blocks_to_restore(self, seq: SequenceView) -> int:
        return 0

    def take_copies(self) -> abc.Sequence[Copy]:
        return ()

    # -- the decode cohort ----------------------------------------------------------------------

    def join(self, seq: SequenceView) -> None:
        pass

    def leave(self, seq: SequenceView) -> None:
        pass

    def advance(self, iterations: int) -> None:
        pass

    def _blocks(self, tokens: int) -> int:
        return -(-tokens // self.block_size)
