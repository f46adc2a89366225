"""Trace events of a run: slices, counters and spans, as the trace-event format names them.

A replica is a process (``pid``); its lanes are threads (``tid``). Times are microseconds.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
import pandas as pd

from bros_sim.timeline.iterations import Timing

Event = dict[str, object]
ITERATIONS = 1
COPIES = {"tokens_to_cpu": (2, "KV to CPU"), "tokens_to_gpu": (3, "KV to GPU")}
"""Column of the steps table -> lane and name of its copies."""
COUNTERS = {
    "running requests": {"rt": "running_rt", "be": "running_be"},
    "waiting requests": {"rt": "waiting_rt", "be": "waiting_be"},
    "KV tokens": {"rt": "kv_tokens_rt", "be": "kv_tokens_be"},
}
PHASES = ("queue", "prefill", "decode")
"""What a request is in between arrival, first scheduled, first token and last token."""


def names(replicas: Iterable[int]) -> Iterator[Event]:
    """What the processes and their lanes are called."""
    for replica in replicas:
        yield _meta(replica, 0, "process_name", name=f"replica {replica}")
        yield _meta(replica, 0, "process_sort_index", sort_index=replica)
        lanes = [(ITERATIONS, "iterations"), *COPIES.values()]
        for lane, name in lanes:
            yield _meta(replica, lane, "thread_name", name=name)
            yield _meta(replica, lane, "thread_sort_index", sort_index=lane)


def _meta(pid: int, tid: int, key: str, /, **args: object) -> Event:
    return {"ph": "M", "pid": pid, "tid": tid, "name": key, "args": args}


def slices(steps: pd.DataFrame, each: pd.DataFrame) -> Iterator[Event]:
    """A slice for each of ``each`` (`iterations`): prefill, decode, mixed, or no forward pass."""
    columns = ["replica", "prefill_tokens", "decode_jobs", "decode_jobs_rt", "kv_tokens"]
    rows = steps[columns].to_numpy(np.int64).tolist()
    per_replica = steps.groupby("replica")["repeat"].cumsum() - steps["repeat"]
    first = per_replica.to_numpy(np.int64).tolist()
    for step, nth, start_s, end_s, count in each.itertuples(index=False, name=None):
        replica, prefill, decodes, decodes_rt, kv_tokens = rows[step]
        args = {
            "iteration": first[step] + nth,
            "prefill_tokens": prefill,
            "decodes_rt": decodes_rt,
            "decodes_be": decodes - decodes_rt,
            "kv_tokens": kv_tokens + nth * decodes,
        }
        name = _kind(prefill, decodes)
        if count > 1:
            name, args["iterations"] = f"{name}, {count} iterations", count
        yield _slice(replica, ITERATIONS, name, start_s, end_s, args)


def _kind(prefill_tokens: int, decode_jobs: int) -> str:
    if prefill_tokens and decode_jobs:
        return "mixed"
    if prefill_tokens:
        return "prefill"
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


def copies(steps: pd.DataFrame, timing: Timing | None) -> Iterator[Event]:
    """The copies of each step: from its start, as long as its link takes them.

    Of joined iterations, and where nothing is known of the link, the slice is the whole step.
    """
    for column, (lane, name) in COPIES.items():
        moved = steps.loc[steps[column] > 0, ["replica", "start_s", "end_s", "repeat", column]]
        for replica, start_s, end_s, repeat, tokens in moved.itertuples(index=False, name=None):
            known = timing.copy_s(column, tokens) if timing and repeat == 1 else None
            end = end_s if known is None else min(end_s, start_s + known)
            args = {"tokens": tokens} | ({"iterations": repeat} if repeat > 1 else {})
            yield _slice(replica, lane, name, start_s, end, args)


def counters(steps: pd.DataFrame) -> Iterator[Event]:
    """Running, waiting and KV tokens by class where they change; 0 while a replica is idle."""
    for replica in sorted(set(steps["replica"].tolist())):
        rows = steps[steps["replica"] == replica]
        own = rows.assign(kv_tokens_be=rows["kv_tokens"] - rows["kv_tokens_rt"])
        start, end = (own[name].to_numpy(np.float64) for name in ("start_s", "end_s"))
        idle = np.append(end[:-1] < start[1:], True)
        for name, columns in COUNTERS.items():
            values = own[list(columns.values())].to_numpy(np.int64)
            changed = np.append(True, (values[1:] != values[:-1]).any(axis=1) | idle[:-1])
            for row in np.flatnonzero(changed | idle):
                if changed[row]:
                    yield _counter(replica, name, start[row], columns, values[row].tolist())
                if idle[row]:
                    yield _counter(replica, name, end[row], columns, [0] * len(columns))


def _counter(pid: int, name: str, at_s: float, keys: Iterable[str], values: Iterable[int]) -> Event:
    args = dict(zip(keys, values, strict=True))
    return {"ph": "C", "pid": pid, "tid": 0, "name": name, "ts": _us(at_s), "args": args}


def requests(table: pd.DataFrame, span_s: tuple[float, float]) -> Iterator[Event]:
    """An asynchronous span for each request, its phases inside; what lies outside is cut off."""
    columns = [
        "request_id", "class", "replica", "status", "prompt_tokens", "output_tokens",
        "num_preemptions", "arrival_s", "first_scheduled_s", "first_token_s", "last_token_s",
    ]  # fmt: skip
    times = table[columns[-4:]].to_numpy(np.float64)
    completed, rejected = (
        (table["status"] == status).to_numpy(np.bool_) for status in ("completed", "rejected")
    )
    last = np.where(completed, times[:, 3], np.inf)
    last = np.where(rejected, np.nanmax(times, axis=1), last)
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
