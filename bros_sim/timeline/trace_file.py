"""Tables of a run -> trace-event JSON, gzipped: ``pid`` a replica, ``tid`` a lane, times in us."""

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, pairwise
from operator import itemgetter

import numpy as np
import pandas as pd

from bros_sim.timeline.iterations import Timing, iterations

Event = dict[str, object]
MAX_EVENTS = 400_000
"""About 60 MB of JSON, 5 MB gzipped: what a browser opens in seconds."""
ITERATIONS = 1
COPIES = {"tokens_to_cpu": (2, "KV to CPU"), "tokens_to_gpu": (3, "KV to GPU")}
"""Column of the steps table -> lane and name of its copies."""
COUNTERS = {
    "running requests": ["running_rt", "running_be"],
    "waiting requests": ["waiting_rt", "waiting_be"],
    "KV tokens": ["kv_tokens_rt", "kv_tokens_be"],
}
PHASES = ("queue", "prefill", "decode")
"""What a request is in between arrival, first scheduled, first token and last token."""


@dataclass(frozen=True)
class Span:
    """The part of a run that is shown, in seconds; its end may be infinite."""

    start_s: float = 0.0
    end_s: float = float("inf")


@dataclass(frozen=True)
class Timeline:
    """A trace file of ``shown`` events that ends early, at ``cut_s``, if it would be too large.

    ``whole`` counts the stretches shown as one slice because they cannot be timed again.
    """

    content: bytes = field(repr=False)
    shown: int
    cut_s: float | None
    whole: int


def chrome_trace(
    requests_table: pd.DataFrame, steps: pd.DataFrame, timing: Timing | None, *,
    span: Span | None = None, about: Mapping[str, object] | None = None,
    max_events: int | None = None,
) -> Timeline:  # fmt: skip
    """A run as a Chrome trace: the same tables give the same bytes.

    A process for each replica with the lanes iterations, KV copies to the CPU and to the GPU,
    counters by class, and an asynchronous span for each request (queue, prefill, decode).

    The tables are those of a point. ``timing`` times joined iterations and copies again; without,
    they are shown joined. ``about`` goes to the file's ``otherData``. The file ends where there
    would be more than ``max_events``; default: MAX_EVENTS.
    """
    span = span or Span()
    each = iterations(steps, timing)
    cut_s = _cut(requests_table, steps, each, span, max_events or MAX_EVENTS)
    if cut_s is not None:
        span = Span(span.start_s, cut_s)
    shown, seen = (
        table[(table["end_s"] > span.start_s) & (table["start_s"] < span.end_s)]
        for table in (steps, each)
    )
    end_s = np.nanmax([0.0, steps["end_s"].max(), requests_table["arrival_s"].max()])
    spans = _requests(requests_table, (span.start_s, min(span.end_s, float(end_s))))
    parts = chain(_slices(steps, seen), _copies(shown, timing), _counters(shown), spans)
    events = sorted(parts, key=itemgetter("ts"))  # stable: b and e keep their order
    replicas = sorted({*steps["replica"].tolist(), *requests_table["replica"].tolist()})
    text = "".join(_lines([*_names(replicas), *events], about or {}))
    content = gzip.compress(text.encode(), 6, mtime=0)
    return Timeline(content, len(events), cut_s, int((seen["count"] > 1).sum()))


def _cut(
    requests_table: pd.DataFrame, steps: pd.DataFrame, each: pd.DataFrame, span: Span, most: int
) -> float | None:
    stamps = ["arrival_s", "first_scheduled_s", "first_token_s", "last_token_s"]
    times = np.concatenate([
        each["start_s"].to_numpy(np.float64),
        np.repeat(steps["start_s"].to_numpy(np.float64), 4),
        np.repeat(requests_table[stamps].to_numpy(np.float64).ravel(), 2),
    ])  # fmt: skip
    times = times[(times >= span.start_s) & (times < span.end_s)]
    return float(np.partition(times, most)[most]) if times.size > most else None


def _lines(events: list[Event], about: Mapping[str, object]) -> Iterator[str]:
    head = json.dumps(dict(about), ensure_ascii=False)
    yield f'{{"displayTimeUnit": "ms", "otherData": {head}, "traceEvents": [\n'
    for number, event in enumerate(events):
        yield (",\n" if number else "") + json.dumps(event, ensure_ascii=False, allow_nan=False)
    yield "\n]}\n"


def _names(replicas: Iterable[int]) -> Iterator[Event]:
    for replica in replicas:
        yield _meta(replica, 0, "process_name", name=f"replica {replica}")
        yield _meta(replica, 0, "process_sort_index", sort_index=replica)
        for lane, name in ((ITERATIONS, "iterations"), *COPIES.values()):
            yield _meta(replica, lane, "thread_name", name=name)
            yield _meta(replica, lane, "thread_sort_index", sort_index=lane)


def _meta(pid: int, tid: int, key: str, /, **args: object) -> Event:
    return {"ph": "M", "pid": pid, "tid": tid, "name": key, "args": args}


def _slices(steps: pd.DataFrame, each: pd.DataFrame) -> Iterator[Event]:
    """A slice for each of ``each`` (`iterations`): prefill, decode, mixed, or no forward pass."""
    columns = ["replica", "prefill_tokens", "decode_jobs", "decode_jobs_rt", "kv_tokens"]
    rows = steps[columns].to_numpy(np.int64).tolist()
    first = (steps.groupby("replica")["repeat"].cumsum() - steps["repeat"]).to_numpy(np.int64)
    for step, nth, start_s, end_s, count in each.itertuples(index=False, name=None):
        replica, prefill, decodes, decodes_rt, kv_tokens = rows[step]
        args = {
            "iteration": int(first[step]) + nth, "prefill_tokens": prefill,
            "decodes_rt": decodes_rt, "decodes_be": decodes - decodes_rt,
            "kv_tokens": kv_tokens + nth * decodes,
        }  # fmt: skip
        name = _kind(prefill, decodes)
        if count > 1:
            name, args["iterations"] = f"{name}, {count} iterations", count
        yield _slice(replica, ITERATIONS, name, start_s, end_s, args)


def _kind(prefill_tokens: int, decode_jobs: int) -> str:
    if prefill_tokens:
        return "mixed" if decode_jobs else "prefill"
    return "decode" if decode_jobs else "no forward pass"


def _slice(
    pid: int, tid: int, name: str, start_s: float, end_s: float, args: dict[str, int]
) -> Event:
    start, end = _us(start_s), _us(end_s)
    return {
        "ph": "X", "pid": pid, "tid": tid, "name": name, "cat": "engine", "ts": start,
        "dur": end - start, "args": args,
    }  # fmt: skip


def _us(seconds: float) -> int:
    """Whole microseconds: where one slice ends the next begins, to every viewer that adds up."""
    return round(seconds * 1e6)


def _copies(steps: pd.DataFrame, timing: Timing | None) -> Iterator[Event]:
    """The copies of each step, as long as its link takes; joined or not known, the whole step."""
    for column, (lane, name) in COPIES.items():
        moved = steps.loc[steps[column] > 0, ["replica", "start_s", "end_s", "repeat", column]]
        for replica, start_s, end_s, repeat, tokens in moved.itertuples(index=False, name=None):
            known = timing.copy_s(column, tokens) if timing and repeat == 1 else None
            end = end_s if known is None else min(end_s, start_s + known)
            args = {"tokens": tokens} | ({"iterations": repeat} if repeat > 1 else {})
            yield _slice(replica, lane, name, start_s, end, args)


def _counters(steps: pd.DataFrame) -> Iterator[Event]:
    """Running, waiting and KV tokens by class where they change; 0 while a replica is idle."""
    for replica, rows in steps.groupby("replica"):
        own = rows.assign(kv_tokens_be=rows["kv_tokens"] - rows["kv_tokens_rt"])
        start, end = (own[name].to_numpy(np.float64) for name in ("start_s", "end_s"))
        idle = np.append(end[:-1] < start[1:], True)
        for name, columns in COUNTERS.items():
            values = own[columns].to_numpy(np.int64)
            changed = np.append(True, (values[1:] != values[:-1]).any(axis=1) | idle[:-1])
            frame = {"ph": "C", "pid": replica, "tid": 0, "name": name}
            for row in np.flatnonzero(changed | idle):
                rt, be = values[row].tolist()
                if changed[row]:
                    yield {**frame, "ts": _us(start[row]), "args": {"rt": rt, "be": be}}
                if idle[row]:
                    yield {**frame, "ts": _us(end[row]), "args": {"rt": 0, "be": 0}}


def _requests(table: pd.DataFrame, span_s: tuple[float, float]) -> Iterator[Event]:
    """An asynchronous span for each request, its phases inside; what lies outside is cut off."""
    columns = [
        "request_id", "class", "replica", "status", "prompt_tokens", "output_tokens",
        "num_preemptions", "arrival_s", "first_scheduled_s", "first_token_s", "last_token_s",
    ]  # fmt: skip
    times = table[columns[-4:]].to_numpy(np.float64)
    fate = table["status"].to_numpy(np.str_)
    last = np.where(fate == "completed", times[:, 3], np.inf)
    last = np.where(fate == "rejected", np.nanmax(times, axis=1), last)
    shown = (last >= span_s[0]) & (times[:, 0] <= span_s[1])
    rows = table.loc[shown, columns].itertuples(index=False, name=None)
    for number, row, until in zip(np.flatnonzero(shown), rows, last[shown], strict=True):
        request_id, service_class, replica, status, prompt, output, preempted, *stamps = row
        args = {
            "request": request_id, "status": status, "prompt_tokens": prompt,
            "output_tokens": output, "preemptions": preempted, "arrival_s": stamps[0],
        }  # fmt: skip
        frame = {"cat": service_class, "pid": replica, "tid": 0, "id2": {"local": f"{number:#x}"}}
        known = [at for at in stamps[:3] if not np.isnan(at)]
        whole, *ends = _span(frame, f"{service_class} request", (known[0], until), span_s, args)
        yield whole
        for name, phase in zip(PHASES, pairwise([*known, until]), strict=False):
            yield from _span(frame, name, phase, span_s, {"request": request_id})
        yield from ends


def _span(
    frame: Event, name: str, ends_s: tuple[float, float], span_s: tuple[float, float], args: Event
) -> Iterator[Event]:
    """Begin and end, as far as they lie inside; nothing if none of it does."""
    start, end = max(ends_s[0], span_s[0]), min(ends_s[1], span_s[1])
    if start <= end:
        yield {"ph": "b", **frame, "name": name, "ts": _us(start), "args": args}
        yield {"ph": "e", **frame, "name": name, "ts": _us(end)}
