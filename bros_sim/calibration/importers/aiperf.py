"""AIPerf's ``profile_export.jsonl``: one record a request, each metric with its unit.

Early versions say ``ttft``, ``isl`` and ``osl`` for what is ``time_to_first_token``,
``input_sequence_length`` and ``output_sequence_length`` since. A failed record has an error and, of
metrics, ``error_isl`` at most. Lengths are counted by the client's tokenizer.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import AliasChoices, Field

from bros_sim.calibration.checked_json import Foreign, checked, refuse
from bros_sim.calibration.importers.base import Options, Run, Runs
from bros_sim.calibration.importers.content import Content, Record
from bros_sim.calibration.request_rows import RequestRow
from bros_sim.core.errors import Fault, InputError

PER_SECOND = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
NS = 1e-9


class _Value(Foreign):
    value: float
    unit: str


class _Metrics(Foreign):
    first: _Value | None = Field(None, validation_alias=AliasChoices("time_to_first_token", "ttft"))
    latency: _Value | None = Field(None, validation_alias=AliasChoices("request_latency"))
    prompt: _Value | None = Field(
        None, validation_alias=AliasChoices("input_sequence_length", "isl")
    )
    output: _Value | None = Field(
        None, validation_alias=AliasChoices("output_sequence_length", "osl", "output_token_count")
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
    def failed(self) -> bool:
        return self.error is not None or self.metadata.was_cancelled


def is_aiperf(content: Content) -> bool:
    """Lines of objects with metadata and metrics."""
    return content.has("metadata", "metrics") and "request_start_ns" in content.first["metadata"]


def read_aiperf(contents: Sequence[Content], _: Options) -> Runs:
    """Every file is one run.

    Raises:
        InputError: A completed request lacks a metric, or a unit is not known.
    """
    return Runs(tuple(_run(content) for content in contents))


def _run(content: Content) -> Run:
    requests = []
    faults: list[Fault | str] = []
    for record in content.records:
        try:
            requests.append((record, checked(_Request, record.data, record.place)))
        except InputError as error:
            faults += error.faults
    timed = [pair for pair in requests if pair[1].metadata.benchmark_phase != "warmup"]
    good = [(record, request) for record, request in timed if not request.failed]
    for record, request in good:
        faults += _faults(record, request.metrics)
    refuse(str(content.path), faults)
    zero = min((request.metadata.request_start_ns for _, request in timed), default=0)
    rows = tuple(_row(request, zero) for _, request in good)
    warm = len(requests) - len(timed)
    notes = (f"left out: {warm} warm-up requests",) if warm else ()
    return Run("profiling", rows, len(timed) - len(good), notes)


def _faults(record: Record, metrics: _Metrics) -> list[str]:
    keys = {
        "time_to_first_token": metrics.first,
        "request_latency": metrics.latency,
        "input_sequence_length": metrics.prompt,
        "output_sequence_length": metrics.output,
    }
    faults = []
    for key, metric in keys.items():
        times = key in {"time_to_first_token", "request_latency"}
        if metric is None:
            hint = " (run with --streaming)" if key == "time_to_first_token" else ""
            faults.append(f"{record.place}: metrics.{key}: a completed request lacks it{hint}")
        elif times and metric.unit not in PER_SECOND:
            known = ", ".join(PER_SECOND)
            faults.append(f"{record.place}: metrics.{key}.unit: '{metric.unit}' (known: {known})")
        elif not times and (metric.value < 1 or not metric.value.is_integer()):
            what = f"must be a whole number of tokens from 1, not {metric.value:g}"
            faults.append(f"{record.place}: metrics.{key}.value: {what}")
    return faults


def _row(request: _Request, zero: int) -> RequestRow:
    metrics, metadata = request.metrics, request.metadata
    arrival_s = NS * (metadata.request_start_ns - zero)
    return RequestRow(
        request_id=metadata.x_request_id or f"request-{metadata.session_num}",
        arrival_s=arrival_s,
        prompt_tokens=int(_known(metrics.prompt).value),
        output_tokens=int(_known(metrics.output).value),
        first_token_s=arrival_s + _seconds(metrics.first),
        last_token_s=arrival_s + _seconds(metrics.latency),
    )


def _known(metric: _Value | None) -> _Value:
    assert metric is not None
    return metric


def _seconds(metric: _Value | None) -> float:
    known = _known(metric)
    return known.value / PER_SECOND[known.unit]
