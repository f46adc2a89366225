"""``vllm bench forward --output-json`` (vLLM 0.33): exact batches, timed as CUDA graphs.

A list of cases, times in microseconds. ``kv_len`` counts the tokens after the iteration, new
ones included. The batch is the expanded ``requests`` and not the case's name: by default the
tool draws the lengths anew (``--kv-len-jitter 0.5``). Sampling and the CPU's part are not included.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from bros_sim.calibration.files import Count, Foreign, checked, refuse
from bros_sim.calibration.importers.base import Content, Options, Steps
from bros_sim.calibration.plan import BatchRequest, Case
from bros_sim.calibration.step_rows import StepRow, step_row
from bros_sim.core.errors import Fault, InputError

UNSTABLE_PCT = 0.5  # spread of the sample medians from which vLLM itself calls a timing unstable


class _Request(BatchRequest):
    num_draft_tokens: int = 0


class _Latency(Foreign):
    count: Count = 1
    sample_spread_pct: float = 0.0


class _Rank(Foreign):
    latency_us: _Latency = _Latency()


class _Case(Foreign):
    case: str
    requests: Annotated[list[_Request], Field(min_length=1)]
    median_us: Annotated[float, Field(gt=0)]
    ranks: list[_Rank] = Field(default_factory=list)


def is_forward(content: Content) -> bool:
    """A list of objects with a case, its requests and a median."""
    return content.lists("case", "requests", "median_us")


def read_forward(contents: Sequence[Content], _: Options) -> Steps:
    """Every case is one iteration; `InputError` where one lacks a key or contradicts itself."""
    rows: list[StepRow] = []
    drafted = unstable = 0
    for content in contents:
        for case in _cases(content):
            if any(request.num_draft_tokens for request in case.requests):
                drafted += 1
                continue
            latency = case.ranks[0].latency_us if case.ranks else _Latency()
            unstable += latency.sample_spread_pct > UNSTABLE_PCT
            batch = Case(case.case, tuple(request.group() for request in case.requests))
            rows.append(step_row(batch.shape, 1e-6 * case.median_us, latency.count))
    notes = []
    if drafted:
        notes.append(f"left out: {drafted} cases with draft tokens (speculative decoding)")
    if unstable:
        notes.append(f"{unstable} cases are unstable: sample medians spread over {UNSTABLE_PCT} %")
    return Steps(tuple(rows), tuple(notes))


def _cases(content: Content) -> list[_Case]:
    place = str(content.path)
    faults: list[Fault | str] = []
    cases = []
    for number, data in enumerate(content.first):
        try:
            case = checked(_Case, data, place, at=(number,))
        except InputError as error:
            faults += error.faults
            continue
        cases.append(case)
        for index, request in enumerate(case.requests):
            if request.fault:
                faults.append(f"{place}: {number}.requests.{index}.{request.fault}")
    refuse(place, faults)
    return cases
