"""Formats of a time, a prompt and an output in each row, found by name: CSV or JSON lines."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bros_sim.workload.readers.base import Head, Policy, Rows, Source
from bros_sim.workload.readers.cells import Convert, hash_lists, seconds, stamps, tokens
from bros_sim.workload.readers.columns import read_csv, read_records

SECONDS = seconds(1)
Records = Iterator[tuple[int, dict[str, Any]]]
NO_TIME = "XXX"
"""What NanoFlow's files hold in place of every time stamp."""


@dataclass(frozen=True)
class Named:
    """Reads a format by the names of its columns or keys; one without ``time`` has no arrivals.

    With ``ticks_per_s`` the clock starts at its earliest row. With ``block_tokens`` rows have
    ``hash_ids``: each stands for a block and all before it, so equal hashes mean equal prefixes.
    """

    prompt: str
    output: str
    time: str | None = None
    clock: Convert = SECONDS
    ticks_per_s: float | None = None
    block_tokens: int | None = None

    def __call__(self, source: Source, _: Policy) -> Rows:
        return self.rows(source, source.records())

    def rows(self, source: Source, records: Records) -> Rows:
        """The rows of a CSV file, or of these records of any other."""
        time = self.time if self.time in source.head.keys else None
        converts: dict[str, Convert] = {} if time is None else {time: self.clock}
        converts |= {self.prompt: tokens, self.output: tokens}
        converts |= {"hash_ids": hash_lists} if self.block_tokens else {}
        if source.head.layout == "csv":
            table = read_csv(source, converts)
        else:
            table = read_records(source, records, converts)
        times = None if time is None else np.asarray(table[time])
        if times is not None and self.ticks_per_s:
            times = (times - times.min()) / self.ticks_per_s
        rows = Rows(table.lines, times, table[self.prompt], table[self.output])
        if not self.block_tokens:
            return rows
        hashes = tuple(table["hash_ids"])
        return replace(rows, prefix_hashes=hashes, hash_block_tokens=self.block_tokens)


AZURE = Named("ContextTokens", "GeneratedTokens", "TIMESTAMP", stamps, 1e9)
"""2023, 2024 and multimodal 2025 (``NumImages`` too, in any place: images are not modelled, their
tokens are in ``ContextTokens`` already). Stamps have 7 decimals, or a zone, or ``T`` and ``Z``, or
no fraction."""
NANOFLOW = Named("ContextTokens", "GeneratedTokens")
BURSTGPT = Named("Request tokens", "Response tokens", "Timestamp", ticks_per_s=1)
"""With 6 or 8 columns; whole seconds from an arbitrary midnight, so many ties. ``Response tokens``
= 0 marks a failed request, which the zero-token policy of ``read_trace`` counts."""
VIDUR = Named("num_prefill_tokens", "num_decode_tokens", "arrived_at")
SPLITWISE = Named("prompt_size", "token_size", "arrival_timestamp")
MOONCAKE = Named("input_length", "output_length", "timestamp", seconds(1000), block_tokens=512)
BAILIAN = Named("input_length", "output_length", "timestamp", block_tokens=16)
"""Chat and turn numbers are not used."""
APEX = Named("ContextTokens", "GeneratedTokens", "StartTimeOffset", seconds(1e9))
AIBRIX = Named("Prompt Length", "Output Length", "timestamp", seconds(1000))
LLMSERVINGSIM = Named("input_toks", "output_toks", "arrival_time_ns", seconds(1e9))


def is_timed(head: Head) -> bool:
    """Whether the first time stamp is not NanoFlow's place holder."""
    index = head.keys.index("TIMESTAMP")
    return len(head.first) <= index or head.first[index].strip() != NO_TIME


def read_aibrix(source: Source, _: Policy) -> Rows:
    """AIBrix: time in ms, and the requests of that moment."""
    unbatched = (
        (line, {**request, "timestamp": record.get("timestamp")})
        for line, record in source.records()
        for request in _objects(source, line, record, "requests")
    )
    return AIBRIX.rows(source, unbatched)


def read_llmservingsim(source: Source, _: Policy) -> Rows:
    """LLMServingSim: plain requests, agentic sessions, or both; token ids are not used.

    The sub-requests of a session are a chain whose service times no trace knows. Each arrives at
    the session's time plus the tool times before it, the earliest moment at which it could be sent.
    Those after the first are counted as ``chained``.
    """
    flat = list(_unchained(source))
    chained = sum("chained" in record for _, record in flat)
    return replace(LLMSERVINGSIM.rows(source, iter(flat)), notes={"chained": chained})


def _unchained(source: Source) -> Records:
    for line, record in source.records():
        if "sub_requests" not in record:
            yield line, record
            continue
        clock = record.get("arrival_time_ns")
        for index, sub in enumerate(_objects(source, line, record, "sub_requests")):
            yield line, {**sub, "arrival_time_ns": clock, **({"chained": True} if index else {})}
            tool = sub.get("tool_duration_ns", 0)
            if not _is_number(clock) or not _is_number(tool) or tool < 0:
                raise source.fault(line, "arrival_time_ns, tool_duration_ns: must be numbers >= 0")
            clock += tool


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _objects(source: Source, line: int, record: dict[str, Any], key: str) -> list[dict[str, Any]]:
    items = record.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise source.fault(line, f"{key}: must be a list of objects")
    return items
