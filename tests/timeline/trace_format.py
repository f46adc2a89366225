"""The trace-event format, as far as Perfetto's JSON importer asks for it."""

import gzip
import json
from collections import defaultdict

NEEDED = {
    "M": {"name", "pid", "tid", "args"},
    "X": {"name", "pid", "tid", "ts", "dur", "cat"},
    "C": {"name", "pid", "ts", "args"},
    "b": {"name", "pid", "tid", "ts", "cat", "id2"},
    "e": {"name", "pid", "tid", "ts", "cat", "id2"},
}
"""Phase -> the keys that its events must have."""
NAMES = {"process_name", "process_sort_index", "thread_name", "thread_sort_index"}


def read(content: bytes) -> list[dict]:
    """The events of a file; every rule of the format that concerns us holds."""
    whole = json.loads(gzip.decompress(content), parse_constant=_no_constant)
    assert set(whole) == {"displayTimeUnit", "otherData", "traceEvents"}
    assert whole["displayTimeUnit"] in {"ms", "ns"}
    events = whole["traceEvents"]
    for event in events:
        assert NEEDED[event["ph"]] <= set(event), event
        assert type(event["pid"]) is int, event
        assert event["ph"] != "M" or event["name"] in NAMES, event
    timed = [event["ts"] for event in events if event["ph"] != "M"]
    assert timed == sorted(timed)
    _lanes_do_not_overlap(events)
    _spans_nest(events)
    for event in events:
        if event["ph"] == "C":
            assert all(type(value) in {int, float} for value in event["args"].values())
    return events


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def _lanes_do_not_overlap(events: list[dict]) -> None:
    ends: dict[tuple, float] = defaultdict(float)
    for event in events:
        if event["ph"] == "X":
            lane = event["pid"], event["tid"]
            assert event["dur"] >= 0
            assert event["ts"] >= ends[lane], event
            ends[lane] = event["ts"] + event["dur"]


def _spans_nest(events: list[dict]) -> None:
    """An end closes what was opened last with its category and id."""
    stacks: dict[tuple, list[str]] = defaultdict(list)
    for event in events:
        stack = stacks[event["pid"], event.get("cat"), str(event.get("id2"))]
        if event["ph"] == "b":
            stack.append(event["name"])
        elif event["ph"] == "e":
            assert stack.pop() == event["name"], event
    assert not any(stacks.values())
