"""``vllm bench serve --save-result --save-detailed`` (or ``--append-result``: one object a line).

Lists are in seconds of the client's clock and hold every request, failed ones too; ``itls`` are
gaps between streamed chunks, not tokens. ``start_times`` came in January 2026, ``latencies`` and
``failed`` shortly before; before that the flag did not exist and lists were always written.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from bros_sim.calibration.files import Foreign, checked, refuse
from bros_sim.calibration.importers.base import Content, Options, Record, RequestRow, Run, Runs
from bros_sim.core.errors import InputError

Seconds = Annotated[float, Field(ge=0)]
Tokens = Annotated[int, Field(ge=0)]
PER_REQUEST = ("output_lens", "ttfts", "itls", "errors", "latencies", "start_times")


class _Result(Foreign):
    completed: Tokens
    input_lens: Annotated[list[Tokens], Field(min_length=1)]
    output_lens: list[Tokens]
    ttfts: list[Seconds]
    itls: list[list[Seconds]]
    errors: list[str] | None = None
    latencies: list[Seconds] | None = None
    start_times: list[float] | None = None
    request_rate: float | str | None = None
    max_concurrency: int | None = None
    backend: str | None = None
    date: str | None = None


def is_serve(content: Content) -> bool:
    """An object, or lines of them, with the totals of a serving benchmark."""
    return content.has("completed", "duration", "request_throughput")


def read_serve(contents: Sequence[Content], _: Options) -> Runs:
    """Every object is one run; `InputError` where it lacks details or the arrivals."""
    return tuple(_run(record) for content in contents for record in content.records)


def _run(record: Record) -> Run:
    place, data = record.place, record.data
    if isinstance(data, dict) and "input_lens" not in data:
        raise InputError(f"{place}: input_lens: not in the file: run with --save-detailed")
    result = checked(_Result, data, place)
    wanted = len(result.input_lens)
    found = {name: getattr(result, name) for name in PER_REQUEST}
    faults = [
        f"{place}: {name}: has {len(values)} entries, input_lens has {wanted}"
        for name, values in found.items()
        if values is not None and len(values) != wanted
    ]
    refuse(place, faults)
    starts = _starts(result, place)
    good = [n for n in range(len(starts)) if _completed(result, n)]
    empty = [n for n in good if not result.input_lens[n]]
    if empty:
        raise InputError(f"{place}: input_lens.{empty[0]}: a completed request has no prompt")
    first = min(starts)
    rows = tuple(_row(result, n, starts[n] - first) for n in good)
    label = f"{result.date or 'no date'}, rate {result.request_rate}"
    return Run(label, rows, len(starts) - len(good), tuple(_notes(result, len(good))))


def _starts(result: _Result, place: str) -> list[float]:
    if result.start_times is not None:
        return result.start_times
    if result.request_rate == "inf" and result.max_concurrency is None:
        return [0.0] * len(result.input_lens)
    raise InputError(
        f"{place}: start_times: not in the file, so the arrivals are not known: vLLM writes them"
        " since January 2026; before, only --request-rate inf without --max-concurrency says them"
    )


def _completed(result: _Result, n: int) -> bool:
    failed = result.errors is not None and result.errors[n] != ""
    return not failed and result.ttfts[n] > 0 and result.output_lens[n] > 0


def _row(result: _Result, n: int, arrival_s: float) -> RequestRow:
    first = result.ttfts[n]
    last = result.latencies[n] if result.latencies is not None else first + sum(result.itls[n])
    lengths, last_s = (result.input_lens[n], result.output_lens[n]), arrival_s + max(first, last)
    return RequestRow(f"request-{n}", arrival_s, *lengths, arrival_s + first, last_s)


def _notes(result: _Result, good: int) -> list[str]:
    notes = []
    if result.completed != good:
        notes.append(f"the file counts {result.completed} completed requests, its lists {good}")
    if result.start_times is None:
        notes.append("no start_times: all requests were sent at once, so they arrive at 0")
    if result.max_concurrency is not None:
        notes.append(
            f"--max-concurrency {result.max_concurrency}: arrivals follow from the server's speed,"
            " so a replay is not a test of the queue"
        )
    return notes
