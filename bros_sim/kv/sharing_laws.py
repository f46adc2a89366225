"""Law L4 for shared blocks: every block and every token is where it must be, once."""

from collections.abc import Mapping

from bros_sim.core.errors import LawBroken
from bros_sim.kv.cpu_store import CpuStore
from bros_sim.kv.sharing import Holding, PreemptionTable, SharedBlock


def check_sharing(
    holdings: Mapping[int, Holding], table: PreemptionTable, cpu: CpuStore, block_size: int
) -> int:
    """Blocks that are held; an owner on both sides makes it one block.

    Raises:
        LawBroken: With the numbers, when a token is not where it must be.
    """
    held = 0
    for holding in holdings.values():
        _check_seq(holding, table, cpu)
        held += -(-table.room(holding) // block_size)
        if holding.real_time:
            held -= len(holding.shared)
        for index, block in holding.shared.items():
            _check_block(holding, index, block, table, block_size)
    if cpu.total() + cpu.free != cpu.capacity or cpu.free < 0:
        raise LawBroken(f"L4: {cpu.total()} tokens on the CPU + {cpu.free} != {cpu.capacity}")
    return held


def _check_seq(holding: Holding, table: PreemptionTable, cpu: CpuStore) -> None:
    """What was overwritten, or the whole of a swapped request, is on the CPU; nothing else is."""
    seq, blocks = holding.seq, holding.shared.values()
    lost = 0 if holding.real_time else sum(block.lost for block in blocks)
    damaged = 0 if holding.real_time else sum(block.lost > 0 for block in blocks)
    expected = holding.tokens if holding.swapped else lost
    if (cpu.tokens(seq), holding.damaged) != (expected, damaged):
        raise LawBroken(
            f"L4: request {seq.id} has {cpu.tokens(seq)} tokens on the CPU and {holding.damaged}"
            f" damaged blocks, not {expected} and {damaged}"
        )
    if (seq.decoding or table.in_batch(holding)) and (expected or holding.swapped):
        raise LawBroken(f"L4: request {seq.id} decodes with {expected} tokens on the CPU")
    if holding.swapped and holding.shared:
        raise LawBroken(f"L4: request {seq.id} is on the CPU and shares {len(blocks)} blocks")


def _check_block(
    holding: Holding, index: int, block: SharedBlock, table: PreemptionTable, size: int
) -> None:
    """At most one owner of each kind, and no slot with tokens of both."""
    rt, be = block.rt, block.be
    left = table.fill(table.room(rt), block.rt_index) if rt else 0
    right = table.fill(table.room(be), block.be_index)
    mine = (rt, block.rt_index) if holding.real_time else (be, block.be_index)
    if mine != (holding, index) or be.shared.get(block.be_index) is not block:
        raise LawBroken(f"L4: block {index} of request {holding.seq.id} is not the one it shares")
    whole = rt is None and not block.lost
    if whole or bool(rt) != bool(left) or not right or not 0 <= block.lost <= right:
        raise LawBroken(f"L4: block {index} of {holding.seq.id}: {block.lost} of {right} lost")
    if left + right - block.lost > size:
        raise LawBroken(
            f"L4: block {index} of {holding.seq.id}: {left} + {right} - {block.lost} > {size}"
        )
