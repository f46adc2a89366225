"""Mooncake, Qwen-Bailian and ServeGen offline: JSON lines with prefix hashes.

A hash stands for a block and everything before it, so equal hashes mean equal prefixes.
"""

import numpy as np

from bros_sim.workload.readers.base import Rows, Window
from bros_sim.workload.readers.cells import Convert, hash_lists, seconds, tokens
from bros_sim.workload.readers.columns import read_records
from bros_sim.workload.readers.source import Source

LENGTHS: dict[str, Convert] = {"input_length": tokens, "output_length": tokens}
MOONCAKE_BLOCK = 512
BAILIAN_BLOCK = 16


def read_mooncake(source: Source, _: Window) -> Rows:
    """Mooncake: time in ms, blocks of 512 tokens."""
    return _timed(source, seconds(1000), MOONCAKE_BLOCK)


def read_bailian(source: Source, _: Window) -> Rows:
    """Qwen-Bailian: time in s, blocks of 16 tokens; chat and turn numbers are not used."""
    return _timed(source, seconds(1), BAILIAN_BLOCK)


def _timed(source: Source, clock: Convert, block_tokens: int) -> Rows:
    converts = {"timestamp": clock, **LENGTHS, "hash_ids": hash_lists}
    table = read_records(source, source.records(), converts)
    return Rows(
        table.lines,
        table["timestamp"],
        table["input_length"],
        table["output_length"],
        prefix_hashes=tuple(table["hash_ids"]),
        hash_block_tokens=block_tokens,
    )


def read_servegen_offline(source: Source, _: Window) -> Rows:
    """ServeGen's batch jobs: no arrivals (all work is there at once), 16-token blocks.

    A job whose file states no output lengths is read with outputs of zero tokens, which the
    zero-token policy of ``read_trace`` raises to one (prefill only) and counts.
    """
    keys = source.head.keys
    converts: dict[str, Convert] = {"input_length": tokens}
    converts |= {"output_length": tokens} if "output_length" in keys else {}
    converts |= {"hash_ids": hash_lists} if "hash_ids" in keys else {}
    table = read_records(source, source.records(), converts)
    outputs = table["output_length"] if "output_length" in keys else np.zeros(len(table), np.int64)
    return Rows(
        table.lines,
        None,
        table["input_length"],
        outputs,
        prefix_hashes=tuple(table["hash_ids"]) if "hash_ids" in keys else None,
        hash_block_tokens=BAILIAN_BLOCK if "hash_ids" in keys else None,
        notes={} if "output_length" in keys else {"missing_output": len(table)},
    )
