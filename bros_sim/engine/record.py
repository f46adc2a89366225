"""RunLog: what engines write while a run goes; RunRecord: the columns (`core.columns`) it leaves.

Token times are stored once per iteration of an engine (``iteration_end_s``). A span says that a
request got one token in each iteration from its first on, exceptions where it was several or none:
nothing grows with tokens times requests.
"""

import math
from array import array
from collections import abc
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bros_sim.core.columns import (
    DECISIONS,
    ENGINES,
    EXCEPTIONS,
    REQUESTS,
    SPANS,
    STEPS,
    Column,
    logged,
    names,
)
from bros_sim.core.errors import LawBroken
from bros_sim.engine.decision_log import DecisionLog, decisions_of
from bros_sim.engine.kv_cache import Copy, Direction
from bros_sim.engine.latency_model import LatencyModel, count_extrapolated
from bros_sim.engine.scheduler import Plan
from bros_sim.engine.sequence import Sequence
from bros_sim.engine.step_clock import Stretch

Columns = Mapping[str, NDArray[Any]]
"""The columns of a table by name, all of one length."""

SpanEnd = Literal["finished", "preempted", "paused", "taken", "crashed", "unfinished"]
"""Why a span ended: the request was done, lost its KV, keeps it and computes nothing, left with
it, lost it with the engine, or the run ended."""
_SPAN_ENDS: tuple[SpanEnd, ...] = get_args(SpanEnd)

_SPAN_CODES = {ended: code for code, ended in enumerate(_SPAN_ENDS)}

_OF_REQUEST = ("request_id", "stream", "prompt_tokens", "output_tokens", "max_tokens")
_OF_SEQUENCE = (
    "arrival_s", "queued_s", "first_scheduled_s", "first_token_s", "last_token_s", "cached_tokens",
    "num_preemptions", "recomputed_tokens", "swapped_blocks", "checkpointed_slots",
)  # fmt: skip
"""Columns of the requests table with the name of what they hold."""
_of_request, _of_sequence = attrgetter(*_OF_REQUEST), attrgetter(*_OF_SEQUENCE)
EVERYONE = -1
"""The ``request`` of an exception to all spans of an engine that began before its iteration."""


@dataclass(frozen=True)
class RunRecord:
    """What a run leaves. ``requests`` are in order of arrival, rows of spans as they ended."""

    requests: Columns
    steps: Columns
    spans: Columns
    exceptions: Columns
    engines: Columns
    decisions: Columns | None
    """The decision log, if one was asked for."""
    iteration_end_s: tuple[NDArray[np.float64], ...]
    """Per engine: when each of its iterations ended."""
    duration_s: float


class RunLog:
    """The run's only output."""

    def __init__(self, *, decisions: DecisionLog | None = None) -> None:
        self.decisions = decisions
        self.steps: list[tuple[float, ...]] = []
        """Rows of `STEPS`."""
        self._ids = array("q")
        self._requests: list[tuple[object, ...]] = []
        self._filled: tuple[str, ...] = names(logged(REQUESTS))
        """The columns of ``_requests``, in the order in which `add_request` fills them."""
        self._spans = array("q")
        self._exceptions = array("q")
        self._engines: dict[int, tuple[object, ...]] = {}
        self._down_s: dict[int, float] = {}
        self._iteration_ends: list[array[float]] = []

    def add_engine(
        self, engine: int, pool: str, profile: str, *, block_size: int, kv_blocks: int, up_s: float
    ) -> None:
        """An engine came up; its number is the next one from 0."""
        self._engines[engine] = (engine, pool, profile, block_size, kv_blocks, up_s)

    def engine_down(self, engine: int, now: float) -> None:
        """An engine went down."""
        self._down_s[engine] = now

    def _ends(self, engine: int) -> "array[float]":
        while len(self._iteration_ends) <= engine:
            self._iteration_ends.append(array("d"))
        return self._iteration_ends[engine]

    def add_iterations(
        self, engine: int, ends_s: NDArray[np.float64], *, stalled: bool = False
    ) -> None:
        """Consecutive iterations of an engine ended (``stalled``: those that decode got none)."""
        ends = self._ends(engine)
        if stalled:
            for iteration in range(len(ends), len(ends) + len(ends_s)):
                self.add_exception(EVERYONE, engine, iteration, 0)
        ends.frombytes(ends_s.tobytes())

    def add_span(
        self, request: int, engine: int, first_iteration: int, tokens: int, ended: SpanEnd
    ) -> None:
        """A request got ``tokens``, the first in ``first_iteration``; it gets no more for now."""
        self._spans.extend((request, engine, first_iteration, tokens, _SPAN_CODES[ended]))

    def add_exception(self, request: int, engine: int, iteration: int, tokens: int) -> None:
        """A request (or `EVERYONE`) did not get one token in an iteration, but ``tokens``."""
        self._exceptions.extend((request, engine, iteration, tokens))

    def add_request(self, seq: Sequence, engine: int, status: str, refusal: str = "") -> None:
        """A request's story is over; ``refusal``: why it was rejected, a value of `Refusal`."""
        request, slo = seq.request, seq.slo
        self._ids.append(seq.id)
        values: dict[str, object] = {
            "class": request.service_class.value,
            "ttft_slo_s": slo.ttft_s,
            "tpot_slo_s": slo.tpot_s,
            "e2e_slo_s": slo.e2e_s,
            "replica": engine,
            "status": status,
            "refusal": refusal,
            "generated_tokens": seq.num_output,
        }
        if not self._requests:
            self._filled = (*values, *_OF_REQUEST, *_OF_SEQUENCE)
        self._requests.append((*values.values(), *_of_request(request), *_of_sequence(seq)))

    def record(self, duration_s: float) -> RunRecord:
        """What was written, as columns."""
        engines = [
            (*row, self._down_s.get(engine, math.nan)) for engine, row in self._engines.items()
        ]
        count = max(len(self._iteration_ends), 1 + max(self._engines, default=-1))
        decisions = None if self.decisions is None else _rows(DECISIONS, self.decisions.rows())
        return RunRecord(
            self._request_columns(),
            _joined(self.steps),
            self._span_columns(),
            dict(zip(names(EXCEPTIONS), _numbers(self._exceptions, len(EXCEPTIONS)), strict=True)),
            _rows(ENGINES, engines),
            decisions,
            tuple(np.asarray(self._ends(engine), np.float64) for engine in range(count)),
            duration_s,
        )

    def _request_columns(self) -> Columns:
        order = np.argsort(np.array(self._ids, np.int64), kind="stable")
        columns = {column.name: column for column in logged(REQUESTS)}
        filled = [columns.pop(name) for name in self._filled]
        if columns:
            raise LawBroken(f"the record lacks {', '.join(columns)}")
        found = _rows(filled, self._requests)
        return {name: found[name][order] for name in names(logged(REQUESTS))}

    def _span_columns(self) -> Columns:
        found = dict(zip(names(SPANS), _numbers(self._spans, len(SPANS)), strict=True))
        return found | {"ended": np.array(_SPAN_ENDS, object)[found["ended"]]}


class Accounts:
    """One engine's part of the record."""

    def __init__(self, engine: int, log: RunLog, latency: LatencyModel) -> None:
        self._engine = engine
        self._log = log
        self._latency = latency
        self.iterations = 0
        """How many have ended."""

    def end_iterations(self, stretch: Stretch, ended: int) -> None:
        """More iterations of a stretch have ended: so many of all."""
        ends = stretch.ends_s[stretch.ended : ended]
        self._log.add_iterations(self._engine, ends, stalled=stretch.plan.stalls)
        self.iterations += ended - stretch.ended
        stretch.ended = ended

    def close(self, stretch: Stretch) -> None:
        """A stretch is over; it goes into the steps table unless none of it has ended."""
        if len(stretch.ends_s):
            outside = count_extrapolated(self._latency, stretch.shape, len(stretch.ends_s))
            self._log.steps.append(stretch.row(self._engine, outside))

    def close_span(self, seq: Sequence, ended: SpanEnd) -> None:
        """A sequence gets no more tokens for now, if it got any."""
        start = seq.span_start
        if start is not None:
            output = seq.num_output
            tokens = output - seq.logged_output
            self._log.add_span(seq.id, self._engine, start, tokens, ended)
            seq.span_start, seq.logged_output = None, output

    def decide(self, plan: Plan, copies: Iterable[Copy], now: float) -> None:
        """A plan is about to be applied: its decisions, if they are kept."""
        log = self._log.decisions
        if log is None:
            return
        out = (copy.seq for copy in copies if copy.blocks and copy.direction is Direction.TO_CPU)
        for decision in decisions_of(plan, {seq.id: seq for seq in out}, log.interrupted):
            log.add(self._engine, now, self.iterations, decision)


def _numbers(rows: "array[int]", width: int) -> NDArray[np.int64]:
    """Columns of rows that stand one after the other."""
    return np.array(rows, np.int64).reshape(-1, width).T


def _rows(columns: abc.Sequence[Column], rows: abc.Sequence[tuple[object, ...]]) -> Columns:
    """Text, and whole numbers that may be missing, stay Python objects."""
    kinds = {"int64": np.int64, "float64": np.float64}
    values = zip(*rows, strict=True) if rows else ([] for _ in columns)
    return {
        column.name: np.array(of_column, kinds.get(column.dtype, object))
        for column, of_column in zip(columns, values, strict=True)
    }


def _joined(rows: abc.Sequence[tuple[float, ...]]) -> Columns:
    """The steps table, rows that continue the row before joined: stretches leave no trace (L11)."""
    values = np.array(rows, dtype=np.float64).reshape(len(rows), len(STEPS))
    columns = dict(zip(names(STEPS), values.T, strict=True))
    order = np.lexsort((columns["start_s"], columns["replica"]))
    columns = {name: column[order] for name, column in columns.items()}
    starts = np.flatnonzero(~_continues(columns))
    joined = {name: column[starts] for name, column in columns.items()}
    joined["end_s"] = columns["end_s"][np.append(starts[1:], len(rows))[: starts.size] - 1]
    for name in ("repeat", "tokens_to_cpu", "tokens_to_gpu", "extrapolated"):
        joined[name] = np.add.reduceat(columns[name], starts) if rows else columns[name]
    return {column.name: joined[column.name].astype(column.dtype) for column in STEPS}


_STEADY = (
    "replica", "decode_jobs", "decode_jobs_rt", "running_rt", "running_be", "waiting_rt",
    "waiting_be",
)  # fmt: skip


def _continues(columns: Columns) -> NDArray[np.bool_]:
    """Which rows hold nothing but the decodes of the row before, no request having come or gone."""
    before = {name: column[:-1] for name, column in columns.items()}
    after = {name: column[1:] for name, column in columns.items()}
    same: NDArray[np.bool_] = after["start_s"] == before["end_s"]
    same &= after["prefill_tokens"] == 0
    for name in _STEADY:
        same &= after[name] == before[name]
    grown = before["kv_tokens"] + before["decode_jobs"] * before["repeat"]
    same &= after["kv_tokens"] == grown
    return np.append(np.zeros(min(1, len(columns["start_s"])), np.bool_), same)
