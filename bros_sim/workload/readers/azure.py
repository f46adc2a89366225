"""Azure LLM inference traces 2023, 2024 and multimodal 2025; NanoFlow files with their header.

``TIMESTAMP,ContextTokens,GeneratedTokens`` (2025: ``NumImages`` too, in any place). Time stamps
have 7 decimals, or a zone, or ``T`` and ``Z``, or no fraction; they become seconds from the
earliest one. Images are not modelled: their tokens are in ``ContextTokens`` already.
"""

from bros_sim.workload.readers.base import Rows, Window
from bros_sim.workload.readers.cells import stamps, tokens
from bros_sim.workload.readers.columns import read_csv
from bros_sim.workload.readers.source import Head, Source

NO_TIME = "XXX"
"""What NanoFlow's files hold in place of every time stamp."""


def is_timed(head: Head) -> bool:
    """Whether the first time stamp is not NanoFlow's place holder."""
    index = head.keys.index("TIMESTAMP")
    return len(head.first) <= index or head.first[index].strip() != NO_TIME


def read_azure(source: Source, _: Window) -> Rows:
    """Arrivals and lengths of an Azure trace."""
    table = read_csv(
        source, {"TIMESTAMP": stamps, "ContextTokens": tokens, "GeneratedTokens": tokens}
    )
    stamp_ns = table["TIMESTAMP"]
    return Rows(
        table.lines,
        (stamp_ns - stamp_ns.min()) / 1e9,
        table["ContextTokens"],
        table["GeneratedTokens"],
    )


def read_nanoflow(source: Source, _: Window) -> Rows:
    """Lengths of a NanoFlow dataset; it has no arrivals."""
    table = read_csv(source, {"ContextTokens": tokens, "GeneratedTokens": tokens})
    return Rows(table.lines, None, table["ContextTokens"], table["GeneratedTokens"])
