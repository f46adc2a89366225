"""Tables of a run -> a file in the trace-event format (JSON, microseconds, gzipped)."""

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from bros_sim.timeline.events import Event, copies, counters, names, requests, slices
from bros_sim.timeline.iterations import Timing, iterations

MAX_EVENTS = 400_000
"""About 60 MB of JSON, 5 MB gzipped: what a browser opens in seconds."""


@dataclass(frozen=True)
class Span:
    """The part of a run that is shown, in seconds; its end may be infinite."""

    start_s: float = 0.0
    end_s: float = float("inf")


@dataclass(frozen=True)
class Timeline:
    """A trace file.

    ``shown`` counts its events. ``cut_s`` is where it ends early because it would be too
    large, None if it does not. ``whole`` counts the stretches shown as one slice
    because they cannot be timed again.
    """

    content: bytes = field(repr=False)
    shown: int
    cut_s: float | None
    whole: int


def chrome_trace(
    requests_table: pd.DataFrame,
    steps: pd.DataFrame,
    timing: Timing | None,
    *,
    span: Span | None = None,
    about: Mapping[str, object] | None = None,
    max_events: int | None = None,
) -> Timeline:
    """A run as a Chrome trace: the same tables give the same bytes.

    A process for each replica with the lanes iterations, KV copies to the CPU and to the GPU,
    counters by class, and an asynchronous span for each request (queue, prefill, decode).

    Args:
        requests_table: requests.parquet.
        steps: steps.parquet.
        timing: What times joined iterations and copies again; None: they are shown joined.
        span: What is shown; default: all.
        about: Goes to the file's ``otherData``.
        max_events: The file ends where there would be more; default: MAX_EVENTS.
    """
    span = span or Span()
    each = iterations(steps, timing)
    cut_s = _cut(requests_table, steps, each, span, max_events or MAX_EVENTS)
    if cut_s is not None:
        span = Span(span.start_s, cut_s)
    begins, ends = (steps[name].to_numpy(np.float64) for name in ("start_s", "end_s"))
    shown = (ends > span.start_s) & (begins < span.end_s)
    kept = (each["end_s"] > span.start_s) & (each["start_s"] < span.end_s)
    seen = each[kept]
    parts = [
        slices(steps, seen),
        copies(steps[shown], timing),
        counters(steps[shown]),
        requests(requests_table, (span.start_s, min(span.end_s, _end(requests_table, steps)))),
    ]
    events = sorted((e for part in parts for e in part), key=_time)  # stable: b and e keep order
    replicas = sorted({*steps["replica"].tolist(), *requests_table["replica"].tolist()})
    content = _write([*names(replicas), *events], about or {})
    return Timeline(content, len(events), cut_s, int((seen["count"] > 1).sum()))


def _time(event: Event) -> float:
    return float(event["ts"])  # type: ignore[arg-type]


def _end(requests_table: pd.DataFrame, steps: pd.DataFrame) -> float:
    ends = [steps["end_s"].max(), requests_table["arrival_s"].max()]
    return float(np.nanmax([0.0, *ends]))


def _cut(
    requests_table: pd.DataFrame, steps: pd.DataFrame, each: pd.DataFrame, span: Span, most: int
) -> float | None:
    """When the events become too many, if they do."""
    step_times = np.repeat(steps["start_s"].to_numpy(np.float64), 4)
    request_times = requests_table[
        ["arrival_s", "first_scheduled_s", "first_token_s", "last_token_s"]
    ].to_numpy(np.float64)
    times = np.concatenate(
        [each["start_s"].to_numpy(np.float64), step_times, np.repeat(request_times.ravel(), 2)]
    )
    times = times[(times >= span.start_s) & (times < span.end_s)]
    return float(np.partition(times, most)[most]) if times.size > most else None


def _write(events: list[Event], about: Mapping[str, object]) -> bytes:
    return gzip.compress("".join(_lines(events, about)).encode(), 6, mtime=0)


def _lines(events: list[Event], about: Mapping[str, object]) -> Iterator[str]:
    """One event a line."""
    head = json.dumps(dict(about), ensure_ascii=False)
    yield f'{{"displayTimeUnit": "ms", "otherData": {head}, "traceEvents": [\n'
    for number, event in enumerate(events):
        yield (",\n" if number else "") + json.dumps(event, ensure_ascii=False, allow_nan=False)
    yield "\n]}\n"
