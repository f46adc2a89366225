"""GuideLLM's ``benchmarks.json``: one benchmark a strategy, the requests by how they ended.

Time stamps are seconds since 1970. Their place moved: ``start_time`` and ``first_token_time`` in
the request (0.2), ``scheduler_info.request_timings`` (0.3), ``info.timings`` (since 0.4; with
``first_token_iteration`` instead of ``first_iteration`` since 0.5).
"""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AliasChoices, AliasPath, Field

from bros_sim.calibration.checked_json import Foreign, checked, refuse
from bros_sim.calibration.importers.base import Options, Run, Runs
from bros_sim.calibration.importers.content import Content
from bros_sim.calibration.request_rows import RequestRow


def _moment(flat: str, *names: str) -> Any:  # noqa: ANN401 - pydantic's own type of a field
    """A time stamp: one of ``names`` inside the timings, or ``flat`` in the request itself."""
    nests = (("info", "timings"), ("scheduler_info", "request_timings"))
    paths = [AliasPath(*nest, name) for name in names for nest in nests]
    return Field(None, validation_alias=AliasChoices(*paths, flat))


class _Sent(Foreign):
    start: float | None = _moment("start_time", "request_start", "resolve_start")


class _Request(_Sent):
    request_id: str | None = None
    prompt_tokens: Annotated[int, Field(ge=1)] | None = None
    output_tokens: Annotated[int, Field(ge=1)] | None = None
    first: float | None = _moment("first_token_time", "first_token_iteration", "first_iteration")
    last: float | None = _moment("last_token_time", "last_token_iteration", "last_iteration")


class _Requests(Foreign):
    successful: list[dict[str, Any]]
    incomplete: list[dict[str, Any]] | None = None
    errored: list[dict[str, Any]] | None = None


class _Benchmark(Foreign):
    requests: _Requests
    strategy: dict[str, Any] = Field(
        default={},
        validation_alias=AliasChoices(
            AliasPath("config", "strategy"),
            AliasPath("args", "strategy"),
            AliasPath("scheduler", "strategy"),
        ),
    )
    made: int | None = Field(
        None,
        validation_alias=AliasChoices(
            AliasPath("scheduler_metrics", "requests_made", "successful"),
            AliasPath("run_stats", "requests_made", "successful"),
            AliasPath("request_totals", "successful"),
        ),
    )


class _Report(Foreign):
    benchmarks: list[dict[str, Any]]


def is_guidellm(content: Content) -> bool:
    """An object with a list of benchmarks that hold requests."""
    if not content.has("benchmarks") or not isinstance(content.first["benchmarks"], list):
        return False
    return all(
        isinstance(item, dict) and "requests" in item for item in content.first["benchmarks"]
    )


def read_guidellm(contents: Sequence[Content], _: Options) -> Runs:
    """Every benchmark is one run.

    Raises:
        InputError: A successful request lacks tokens or times, or there is none at all.
    """
    runs = []
    for content in contents:
        report = checked(_Report, content.first, str(content.path))
        for number, data in enumerate(report.benchmarks):
            runs.append(_run(data, str(content.path), number))
    return Runs(tuple(runs))


def _run(data: dict[str, Any], place: str, number: int) -> Run:
    benchmark = checked(_Benchmark, data, place, at=("benchmarks", number))
    requests = benchmark.requests
    at = ("benchmarks", number, "requests", "successful")
    good = [
        checked(_Request, item, place, at=(*at, n)) for n, item in enumerate(requests.successful)
    ]
    faults = [
        f"{place}: {'.'.join(map(str, at))}.{n}: {what}"
        for n, request in enumerate(good)
        if (what := _missing(request))
    ]
    refuse(place, faults)
    bad = [*(requests.errored or []), *(requests.incomplete or [])]
    sent = [checked(_Sent, item, place).start for item in bad]
    starts = [start for start in (*(r.start for r in good), *sent) if start is not None]
    rows = tuple(_row(request, n, min(starts)) for n, request in enumerate(good))
    return Run(_label(benchmark.strategy), rows, len(bad), tuple(_notes(benchmark, len(good))))


def _missing(request: _Request) -> str:
    needed = ("prompt_tokens", "output_tokens", "start", "first", "last")
    missing = [name for name in needed if getattr(request, name) is None]
    return f"a successful request without {', '.join(missing)}" if missing else ""


def _row(request: _Request, n: int, zero: float) -> RequestRow:
    assert request.prompt_tokens is not None
    assert request.output_tokens is not None
    assert request.start is not None
    assert request.first is not None
    assert request.last is not None
    return RequestRow(
        request_id=request.request_id or f"request-{n}",
        arrival_s=request.start - zero,
        prompt_tokens=request.prompt_tokens,
        output_tokens=request.output_tokens,
        first_token_s=request.first - zero,
        last_token_s=request.last - zero,
    )


def _label(strategy: dict[str, Any]) -> str:
    shown = [
        f"{key} {strategy[key]}"
        for key in ("rate", "streams", "max_concurrency")
        if strategy.get(key)
    ]
    return " ".join(
        [str(strategy.get("type_") or strategy.get("kind") or "strategy not stated"), *shown]
    )


def _notes(benchmark: _Benchmark, good: int) -> list[str]:
    if benchmark.made is None or benchmark.made == good:
        return []
    return [
        f"holds {good} of {benchmark.made} successful requests (a sample, or warm-up and cool-down"
        " cut off): a replay sees less load than the server did"
    ]
