"""GuideLLM's ``benchmarks.json``: one benchmark a strategy, the requests by how they ended.

Time stamps are seconds since 1970. Their place moved: ``start_time`` and ``first_token_time`` in
the request (0.2), ``scheduler_info.request_timings`` (0.3), ``info.timings`` (since 0.4; with
``first_token_iteration`` instead of ``first_iteration`` since 0.5).
"""

from collections.abc import Sequence
from typing import Any

from pydantic import AliasChoices, AliasPath, Field

from bros_sim.calibration.files import Count, Foreign, checked, refuse
from bros_sim.calibration.importers.base import Content, Options, RequestRow, Run, Runs

NEEDED = ("prompt_tokens", "output_tokens", "start", "first", "last")
"""What a successful request has."""


def _at(default: object, *paths: tuple[str, ...]) -> Any:  # noqa: ANN401 - pydantic's own type
    return Field(default, validation_alias=AliasChoices(*(AliasPath(*path) for path in paths)))


def _moment(flat: str, *names: str) -> Any:  # noqa: ANN401 - pydantic's own type
    """A time stamp: one of ``names`` inside the timings, or ``flat`` in the request itself."""
    nests = (("info", "timings"), ("scheduler_info", "request_timings"))
    return _at(None, *((*nest, name) for name in names for nest in nests), (flat,))


class _Sent(Foreign):
    start: float | None = _moment("start_time", "request_start", "resolve_start")


class _Request(_Sent):
    request_id: str | None = None
    prompt_tokens: Count | None = None
    output_tokens: Count | None = None
    first: float | None = _moment("first_token_time", "first_token_iteration", "first_iteration")
    last: float | None = _moment("last_token_time", "last_token_iteration", "last_iteration")


class _Requests(Foreign):
    successful: list[dict[str, Any]]
    incomplete: list[dict[str, Any]] | None = None
    errored: list[dict[str, Any]] | None = None


class _Benchmark(Foreign):
    requests: _Requests
    strategy: dict[str, Any] = _at(
        {}, ("config", "strategy"), ("args", "strategy"), ("scheduler", "strategy")
    )
    made: int | None = _at(
        None,
        ("scheduler_metrics", "requests_made", "successful"),
        ("run_stats", "requests_made", "successful"),
        ("request_totals", "successful"),
    )


class _Report(Foreign):
    benchmarks: list[dict[str, Any]]


def is_guidellm(content: Content) -> bool:
    """An object with a list of benchmarks that hold requests."""
    found = content.first["benchmarks"] if content.has("benchmarks") else None
    return isinstance(found, list) and all(isinstance(b, dict) and "requests" in b for b in found)


def read_guidellm(contents: Sequence[Content], _: Options) -> Runs:
    """Every benchmark is one run; `InputError` where a successful request lacks tokens or times."""
    runs = []
    for content in contents:
        report = checked(_Report, content.first, str(content.path))
        runs += [_run(data, str(content.path), n) for n, data in enumerate(report.benchmarks)]
    return tuple(runs)


def _run(data: dict[str, Any], place: str, number: int) -> Run:
    benchmark = checked(_Benchmark, data, place, at=("benchmarks", number))
    requests = benchmark.requests
    at = ("benchmarks", number, "requests", "successful")
    good = [checked(_Request, item, place, (*at, n)) for n, item in enumerate(requests.successful)]
    faults = []
    for n, request in enumerate(good):
        if missing := [name for name in NEEDED if getattr(request, name) is None]:
            what = f"a successful request without {', '.join(missing)}"
            faults.append(f"{place}: {'.'.join(map(str, at))}.{n}: {what}")
    refuse(place, faults)
    bad = [*(requests.errored or []), *(requests.incomplete or [])]
    sent = [checked(_Sent, item, place).start for item in bad]
    starts = [start for start in (*(r.start for r in good), *sent) if start is not None]
    rows = tuple(_row(request, n, min(starts)) for n, request in enumerate(good))
    return Run(_label(benchmark.strategy), rows, len(bad), tuple(_notes(benchmark, len(good))))


def _row(request: _Request, n: int, zero: float) -> RequestRow:
    prompt, output, start, first, last = (getattr(request, name) for name in NEEDED)
    name = request.request_id or f"request-{n}"
    return RequestRow(name, start - zero, prompt, output, first - zero, last - zero)


def _label(strategy: dict[str, Any]) -> str:
    kind = str(strategy.get("type_") or strategy.get("kind") or "strategy not stated")
    keys = ("rate", "streams", "max_concurrency")
    return " ".join([kind, *(f"{key} {strategy[key]}" for key in keys if strategy.get(key))])


def _notes(benchmark: _Benchmark, good: int) -> list[str]:
    if benchmark.made is None or benchmark.made == good:
        return []
    return [
        f"holds {good} of {benchmark.made} successful requests (a sample, or warm-up and cool-down"
        " cut off): a replay sees less load than the server did"
    ]
