"""AIPerf's ``profile_export.jsonl``: one record a request, each metric with its unit.

Early versions say ``ttft``, ``isl`` and ``osl`` for what is ``time_to_first_token``,
``input_sequence_length`` and ``output_sequence_length`` since. A failed record has an error and, of
metrics, ``error_isl`` at most. Lengths are counted by the client's tokenizer.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import AliasChoices, Field

from bros_sim.calibration.files import Foreign, checked, refuse
from bros_sim.calibration.importers.base import Content, Options, Record, RequestRow, Run, Runs
from bros_sim.core.errors import Fault, InputError

PER_SECOND = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
NS = 1e-9
TIMES = ("time_to_first_token", "request_latency")
LENGTHS = ("input_sequence_length", "output_sequence_length")


class _Value(Foreign):
    value: float
    unit: str


def _metric(*names: str) -> Any:  # noqa: ANN401 - pydantic's own type of a field
    return Field(None, validation_alias=AliasChoices(*names))


class _Metrics(Foreign):
    time_to_first_token: _Value | None = _metric("time_to_first_token", "ttft")
    request_latency: _Value | None = None
    input_sequence_length: _Value | None = _metric("input_sequence_length", "isl")
    output_sequence_length: _Value | None = _metric(
        "output_sequence_length", "osl", "output_token_count"
    )


class _Metadata(Foreign):
    request_start_ns: int
    session_num: int = 0
    x_request_id: str | None = None
    benchmark_phase: str = "profiling"
    was_cancelled: bool = False


class _Request(Foreign):
    metadata: _Metadata
    metrics: _Metrics
    error: dict[str, Any] | None = None

    @property
    def completed(self) -> bool:
        return self.error is None and not self.metadata.was_cancelled


def is_aiperf(content: Content) -> bool:
    """Lines of objects with metadata and metrics."""
    return content.has("metadata", "metrics") and "request_start_ns" in content.first["metadata"]


def read_aiperf(contents: Sequence[Content], _: Options) -> Runs:
    """Every file is one run; `InputError` where a completed request lacks a metric or its unit."""
    return tuple(_run(content) for content in contents)


def _run(content: Content) -> Run:
    requests = []
    faults: list[Fault | str] = []
    for record in content.records:
        try:
            requests.append((record, checked(_Request, record.data, record.place)))
        except InputError as error:
            faults += error.faults
    timed = [pair for pair in requests if pair[1].metadata.benchmark_phase != "warmup"]
    good = [pair for pair in timed if pair[1].completed]
    for record, request in good:
        faults += _faults(record, request.metrics)
    refuse(str(content.path), faults)
    zero = min((request.metadata.request_start_ns for _, request in timed), default=0)
    rows = tuple(_row(request, zero) for _, request in good)
    warm = len(requests) - len(timed)
    notes = (f"left out: {warm} warm-up requests",) if warm else ()
    return Run("profiling", rows, len(timed) - len(good), notes)


def _faults(record: Record, metrics: _Metrics) -> list[str]:
    faults = []
    for key, metric in metrics:
        place = f"{record.place}: metrics.{key}"
        if metric is None:
            hint = " (run with --streaming)" if key == "time_to_first_token" else ""
            faults.append(f"{place}: a completed request lacks it{hint}")
        elif key in TIMES and metric.unit not in PER_SECOND:
            faults.append(f"{place}.unit: '{metric.unit}' (known: {', '.join(PER_SECOND)})")
        elif key not in TIMES and (metric.value < 1 or not metric.value.is_integer()):
            what = f"must be a whole number of tokens from 1, not {metric.value:g}"
            faults.append(f"{place}.value: {what}")
    return faults


def _row(request: _Request, zero: int) -> RequestRow:
    metrics, metadata = dict(request.metrics), request.metadata
    arrival_s = NS * (metadata.request_start_ns - zero)
    first, last = (metrics[key].value / PER_SECOND[metrics[key].unit] for key in TIMES)
    prompt, output = (int(metrics[key].value) for key in LENGTHS)
    name = metadata.x_request_id or f"request-{metadata.session_num}"
    return RequestRow(name, arrival_s, prompt, output, arrival_s + first, arrival_s + last)
