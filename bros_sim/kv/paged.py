"""Paged KV cache with prefix caching: vLLM V1's KVCacheManager, by the block."""

from collections import abc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from bros_sim.core.errors import LawBroken
from bros_sim.engine.kv_cache import KvImage
from bros_sim.engine.sequence import Seqs, SequenceView
from bros_sim.kv.base import BaseKV
from bros_sim.kv.crossings import Crossings
from bros_sim.kv.pool import Block, BlockPool, ImportedBlock, Key
from bros_sim.kv.relay import SharedReads

if TYPE_CHECKING:
    from bros_sim.kv.parameters import PagedParameters

VllmRelease = Literal["0.11.2", "0.13.0", "0.33.0"]
"""The vLLM releases whose rules differ; each stands for those up to the next."""


def _own(seq: SequenceView, i: int) -> Key:
    """Key of a request's block that no other request shares: it hits it after a preemption."""
    return ("own", seq.id, i)


@dataclass(slots=True, eq=False)
class _Table:
    """Blocks of one request: the leading shareable ones; the rest follows from ``tokens``."""

    keys: tuple[Key, ...]
    tokens: int
    shared: list[Block]


class PagedKV(BaseKV):
    """Mirrors vLLM V1's kv_cache_manager.py and block_pool.py.

    Only full blocks are cached, they can be hit from the moment they are allocated, the last token
    is always recomputed, and freed blocks stay cached until reused, least recently freed first.
    """

    def __init__(self, parameters: "PagedParameters") -> None:
        super().__init__(parameters.num_gpu_blocks, parameters.block_size, parameters.cpu_blocks)
        self.enable_prefix_caching = parameters.enable_prefix_caching
        self.relay_attention = parameters.relay_attention
        self._tables: dict[int, _Table] = {}
        self._imported: dict[int, int] = {}
        """Leading blocks computed elsewhere, by request that has not been admitted yet."""
        self._extended: set[int] = set()
        """Cohort members with room for the token of the coming iteration, or of that under way."""
        self._all_extended = False
        """Whether the whole cohort has it."""
        self._crossings = Crossings(self.block_size)
        caching, first = self.enable_prefix_caching, parameters.version == "0.33.0"
        blocks = self.num_gpu_blocks - 1
        self._pool = BlockPool(blocks, self._journal, caching=caching, unhashed_first=first)
        self._relay = SharedReads()

    @property
    def free_blocks(self) -> int:
        return self._pool.free

    @property
    def spared_kv_tokens(self) -> int:
        return self._relay.spared

    def lookup(self, seq: SequenceView) -> abc.Sequence[object]:
        """The longest run of cached blocks that the seq's known tokens begin with.

        vLLM leaves at least the last token to compute. Content that only the seq itself knows
        (its own tokens after a preemption) is keyed by the seq.
        """
        hit = self._cached(seq)
        if seq.id not in self._imported:
            return hit
        most = min(self._imported[seq.id], (seq.num_tokens - 1) // self.block_size)
        return [*hit, *(ImportedBlock(_own(seq, i)) for i in range(len(hit), most))]

    def _cached(self, seq: SequenceView) -> list[Block]:
        hit: list[Block] = []
        keys = self._keys(seq)
        if not keys and not (seq.num_preemptions and self.enable_prefix_caching):
            return hit
        for i in range((seq.num_tokens - 1) // self.block_size):
            block = self._pool.cached(keys[i] if i < len(keys) else _own(seq, i))
            if block is None:
                break
            hit.append(block)
        return hit

    def admit(
        self, seq: SequenceView, num_tokens: int, hit: abc.Sequence[object], *,
        must_fit: int, spare: int, lenders: Seqs = (),
    ) -> bool:  # fmt: skip
        """Hit blocks in the free list count as needed; a request on the CPU is brought back."""
        blocks = [block for block in hit if isinstance(block, Block)]
        from_free = sum(block.refs == 0 for block in blocks)
        need = self._blocks(num_tokens) - len(blocks)
        full = max(need, self._blocks(must_fit) - len(blocks))
        if not self._has_room(full + from_free + spare):
            return False
        for block in blocks:
            self._pool.touch(block)
        self._pool.take(need)
        table = _Table(self._keys(seq), num_tokens, blocks)
        self._journal.put(self._tables, seq.id, table)
        self._cache(table)
        if seq.id in self._imported:
            self._journal.pop(self._imported, seq.id)
        if on_cpu := self._cpu.tokens(seq):
            self._cpu.load(seq, on_cpu, self._blocks(on_cpu))
        return True

    def import_(self, seq: SequenceView, image: KvImage) -> None:
        self._imported[seq.id] = image.tokens // self.block_size

    def extend(self, seq: SequenceView, num_tokens: int, *, lenders: Seqs = ()) -> bool:
        """A request on the CPU comes back into blocks of its own."""
        if seq.decoding and self._goes_on_inside(seq):
            return True
        if self._cpu.tokens(seq):
            return not seq.decoding and self.admit(seq, num_tokens, (), must_fit=0, spare=0)
        table = self._tables[seq.id]
        need = self._blocks(num_tokens) - self._blocks(self._tokens(seq, table))
        if not self._has_room(need):
            return False
        self._pool.take(need)
        if seq.decoding:
            self._extended.add(seq.id)
            self._journal.on_undo(partial(self._extended.discard, seq.id))
        else:
            self._journal.set(table, "tokens", num_tokens)
            self._cache(table)
        return True

    def extend_all(self, seqs: Seqs) -> int:
        for place, seq in enumerate(seqs):
            if self._cpu.tokens(seq) or not self.extend(seq, seq.num_tokens):
                return place
        return len(seqs)

    def _goes_on_inside(self, seq: SequenceView) -> bool:
        """Whether a cohort member's next token neither opens a block nor completes one."""
        inside = seq.num_computed % self.block_size
        return inside > 0 and (inside + 1 < self.block_size or not self.enable_prefix_caching)

    def extend_decodes(self) -> bool:
        need = self._crossings.due()
        if not self._has_room(need):
            return False
        self._pool.take(need)
        self._journal.set(self, "_all_extended", value=True)
        return True

    def swap_out(self, seq: SequenceView) -> bool:
        """The blocks left behind cannot be hit. False without tokens."""
        tokens = seq.num_computed
        if self._cpu.tokens(seq):
            return True
        if not 0 < tokens <= self._cpu.free:
            return False
        self.release(seq, resumable=False)
        self._cpu.save(seq, tokens, self._blocks(tokens))
        return True

    def release(self, seq: SequenceView, *, resumable: bool) -> None:
        """Free all blocks, the last first; a resumable request's full blocks can be hit again."""
        on_cpu = self._cpu.tokens(seq)
        self._cpu.forget(seq)
        if on_cpu:
            return
        table = self._journal.pop(self._tables, seq.id)
        full, partly = divmod(self._tokens(seq, table), self.block_size)
        if seq.decoding:
            self._crossings.remove(seq.num_computed)
            self._journal.on_undo(partial(self._crossings.add, seq.num_computed))
            for prompt in self._relayed(seq, table):
                self._relay.add(*prompt, -1)
                self._journal.on_undo(partial(self._relay.add, *prompt))
        self._pool.give(min(partly, 1), hashed=False)
        private = range(len(table.shared), full)
        if resumable and self.enable_prefix_caching:
            own = [self._pool.register(_own(seq, i)) for i in private]
            for block in reversed(own):
                self._pool.drop(block)
        else:
            self._pool.give(len(private), hashed=True)
        for block in reversed(table.shared):
            self._pool.drop(block)

    def join(self, seq: SequenceView) -> None:
        self._crossings.add(seq.num_computed)
        for prompt in self._relayed(seq, self._tables[seq.id]):
            self._relay.add(*prompt)

    def leave(self, seq: SequenceView) -> None:
        """A request that was just swapped out has left already."""
        if not self._cpu.tokens(seq):
            self._crossings.remove(seq.num_computed)
            table = self._tables[seq.id]
            table.tokens = self._tokens(seq, table)
            for prompt in self._relayed(seq, table):
                self._relay.add(*prompt, -1)

    def spare_iterations(self) -> int:
        return self._crossings.iterations_within(self.free_blocks)

    def advance(self, iterations: int) -> None:
        if iterations:
            self._pool.take(self._crossings.advance(iterations))
        self._extended.clear()
        self._all_extended = False

    def check(self, seqs: Iterable[SequenceView]) -> None:
        running = {seq.id: seq for seq in seqs}
        known = self._tables.keys() | self._cpu.seqs()
        if running.keys() != known:
            raise LawBroken(f"L4: blocks of requests {sorted(known)}, running {sorted(running)}")
        shared = {block for table in self._tables.values() for block in table.shared}
        private = sum(
            self._blocks(self._tokens(running[seq_id], table)) - len(table.shared)
            for seq_id, table in self._tables.items()
        )
        held = private + len(shared)
        if self.free_blocks + held != self.usable_blocks or self._pool.listed() != self.free_blocks:
            free = f"{self.free_blocks} free ({self._pool.listed()} listed)"
            raise LawBroken(f"L4: {free} + {held} held != {self.usable_blocks} blocks")
        relay = SharedReads()
        for seq_id, table in self._tables.items():
            if running[seq_id].decoding:
                for prompt in self._relayed(running[seq_id], table):
                    relay.add(*prompt)
        if relay.spared != self._relay.spared:
            raise LawBroken(f"L4: {self._relay.spared} KV tokens spared, should be {relay.spared}")

    def _has_room(self, blocks: int) -> bool:
        return blocks <= self.free_blocks

    def _tokens(self, seq: SequenceView, table: _Table) -> int:
        if seq.decoding:
            return seq.num_computed + (self._all_extended or seq.id in self._extended)
        return table.tokens

    def _keys(self, seq: SequenceView) -> tuple[Key, ...]:
        return seq.block_keys(self.block_size) if self.enable_prefix_caching else ()

    def _relayed(self, seq: SequenceView, table: _Table) -> Iterator[tuple[Block, int]]:
        """The last block and the tokens of the request's system prompt, if it is read once."""
        blocks = seq.system_prompt_tokens // self.block_size
        if self.relay_attention and 0 < blocks <= len(table.shared):
            yield table.shared[blocks - 1], blocks * self.block_size

    def _cache(self, table: _Table) -> None:
        """Make every full block of a shareable prefix hittable."""
        full = min(table.tokens // self.block_size, len(table.keys))
        known = len(table.shared)
        if full > known:
            self._journal.on_undo(partial(table.shared.__delitem__, slice(known, None)))
            table.shared.extend(self._pool.register(key) for key in table.keys[known:full])
