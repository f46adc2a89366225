"""LLMServingSim, AIBrix and APEX+: JSON lines without prefix hashes."""

from collections.abc import Iterator
from typing import Any

from bros_sim.workload.readers.base import Rows, Window
from bros_sim.workload.readers.cells import seconds, tokens
from bros_sim.workload.readers.columns import read_records
from bros_sim.workload.readers.source import Source

Records = Iterator[tuple[int, dict[str, Any]]]


def read_llmservingsim(source: Source, _: Window) -> Rows:
    """LLMServingSim: plain requests, agentic sessions, or both; token ids are not used.

    The sub-requests of a session are a chain whose service times no trace knows. Each arrives
    at the session's time plus the tool times before it: the earliest moment at which it could be
    sent. Those after the first are counted as ``chained``.
    """
    flat = list(_unchained(source))
    converts = {"arrival_time_ns": seconds(1e9), "input_toks": tokens, "output_toks": tokens}
    table = read_records(source, iter(flat), converts)
    chained = sum("chained" in record for _, record in flat)
    return Rows(
        table.lines,
        table["arrival_time_ns"],
        table["input_toks"],
        table["output_toks"],
        notes={"chained": chained},
    )


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


def read_aibrix(source: Source, _: Window) -> Rows:
    """AIBrix: time in ms, and the requests of that moment."""
    converts = {"timestamp": seconds(1000), "Prompt Length": tokens, "Output Length": tokens}
    table = read_records(source, _unbatched(source), converts)
    return Rows(table.lines, table["timestamp"], table["Prompt Length"], table["Output Length"])


def _unbatched(source: Source) -> Records:
    for line, record in source.records():
        for request in _objects(source, line, record, "requests"):
            yield line, {**request, "timestamp": record.get("timestamp")}


def read_apex(source: Source, _: Window) -> Rows:
    """APEX+: ``StartTimeOffset`` in ns."""
    converts = {"StartTimeOffset": seconds(1e9), "ContextTokens": tokens, "GeneratedTokens": tokens}
    table = read_records(source, source.records(), converts)
    return Rows(
        table.lines, table["StartTimeOffset"], table["ContextTokens"], table["GeneratedTokens"]
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _objects(source: Source, line: int, record: dict[str, Any], key: str) -> list[dict[str, Any]]:
    items = record.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise source.fault(line, f"{key}: must be a list of objects")
    return items
