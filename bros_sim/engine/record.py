"""RunLog: append-only columns of one run, and the tables that metrics are computed from.

Token times are stored once per iteration of a replica (``iteration_end_s``); a residency row says
that a request produced one token in each of ``tokens`` consecutive iterations. Nothing here grows
with tokens times requests.
"""

from array import array
from collections import abc
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bros_sim.engine.decision_log import DECISION_COLUMNS, DecisionLog
from bros_sim.engine.sequence import Sequence

REQUEST_COLUMNS = (
    "request_id", "stream", "class", "arrival_s", "prompt_tokens", "output_tokens", "max_tokens",
    "ttft_slo_s", "tpot_slo_s", "e2e_slo_s", "replica", "status", "first_scheduled_s",
    "first_token_s", "last_token_s", "generated_tokens", "cached_tokens", "num_preemptions",
    "recomputed_tokens", "swapped_blocks", "checkpointed_slots",
)  # fmt: skip
"""``status``: completed | rejected | dropped | unfinished; times are NaN where nothing happened."""

STEP_COLUMNS = (
    "replica", "start_s", "end_s", "repeat", "prefill_tokens", "decode_jobs",
    "decode_jobs_rt", "kv_tokens", "kv_tokens_rt", "free_blocks", "running_rt", "running_be",
    "waiting_rt", "waiting_be", "tokens_to_cpu", "tokens_to_gpu", "extrapolated",
)  # fmt: skip
"""One row per stretch of ``repeat`` like iterations; state is that of its first iteration, just
after scheduling. ``kv_tokens`` is what running requests attend to, a shared prefix counted for each
of them (``kv_tokens_rt``: the RT part); ``tokens_to_cpu`` and ``tokens_to_gpu`` are KV copied over
the host link; ``extrapolated`` counts its iterations outside the latency
model's validity range."""

RESIDENCY_COLUMNS = ("request", "replica", "first_iteration", "tokens")
"""``request`` is the row number in the requests table; iterations are numbered per replica. The
request got one token in ``first_iteration`` and in each of the following ones that did not stall
the decode cohort, ``tokens`` in all."""


@dataclass(frozen=True)
class RunTables:
    """The tables of one run. ``requests`` is in order of arrival at the cluster."""

    requests: pd.DataFrame
    steps: pd.DataFrame
    residency: pd.DataFrame
    iteration_end_s: tuple[NDArray[np.float64], ...]
    duration_s: float
    usable_blocks: int
    block_size: int
    stalled: tuple[NDArray[np.int64], ...] = ()
    """Per replica: iterations in which its decode cohort stalled, ascending; () if none did."""
    decisions: pd.DataFrame | None = None
    """The decision log, if one was asked for."""


@dataclass
class RunLog:
    """What a run writes while it goes; the run's only output."""

    replicas: int
    requests: dict[int, tuple[object, ...]] = field(default_factory=dict)
    steps: list[tuple[float, ...]] = field(default_factory=list)
    residency: "array[int]" = field(default_factory=lambda: array("q"))
    """Rows of ``RESIDENCY_COLUMNS``, one after the other."""
    decisions: DecisionLog | None = None
    _iteration_ends: "list[array[float]]" = field(init=False)
    _stalled: list[list[int]] = field(init=False)

    def __post_init__(self) -> None:
        self._iteration_ends = [array("d") for _ in range(self.replicas)]
        self._stalled = [[] for _ in range(self.replicas)]

    def iterations(self, replica: int) -> int:
        """How many iterations of a replica have ended."""
        return len(self._iteration_ends[replica])

    def add_iterations(
        self, replica: int, ends_s: NDArray[np.float64], *, stalled: bool = False
    ) -> None:
        """Consecutive iterations of a replica ended (``stalled``: its cohort stood still)."""
        if stalled:
            done = self.iterations(replica)
            self._stalled[replica].extend(range(done, done + len(ends_s)))
        self._iteration_ends[replica].frombytes(ends_s.tobytes())

    def add_request(self, seq: Sequence, replica: int, status: str) -> None:
        """A request's story is over."""
        request, slo = seq.request, seq.slo
        self.requests[seq.id] = (
            request.request_id, request.stream, request.service_class.value, seq.arrival_s,
            request.prompt_tokens, request.output_tokens, request.max_tokens,
            slo.ttft_s, slo.tpot_s, slo.e2e_s, replica, status, seq.first_scheduled_s,
            seq.first_token_s, seq.last_token_s, seq.num_output, seq.cached_tokens,
            seq.num_preemptions, seq.recomputed_tokens, seq.swapped_blocks,
            seq.checkpointed_slots,
        )  # fmt: skip

    def tables(self, *, duration_s: float, usable_blocks: int, block_size: int) -> RunTables:
        """The run as tables; requests in order of arrival."""
        rows = [self.requests[i] for i in sorted(self.requests)]
        requests = pd.DataFrame.from_records(rows, columns=list(REQUEST_COLUMNS))
        return RunTables(
            requests.astype(dict.fromkeys(_OPTIONAL_TIMES, np.float64)),
            _steps(self.steps),
            pd.DataFrame(
                np.array(self.residency).reshape(-1, len(RESIDENCY_COLUMNS)),
                columns=list(RESIDENCY_COLUMNS),
            ),
            tuple(np.frombuffer(ends, dtype=np.float64) for ends in self._iteration_ends),
            duration_s,
            usable_blocks,
            block_size,
            tuple(np.array(numbers, dtype=np.int64) for numbers in self._stalled)
            if any(self._stalled)
            else (),
            None if self.decisions is None else _decision_frame(self.decisions),
        )


_OPTIONAL_TIMES = (
    "ttft_slo_s", "tpot_slo_s", "e2e_slo_s", "first_scheduled_s", "first_token_s", "last_token_s",
)  # fmt: skip
_STEP_TIMES = ("start_s", "end_s")


def _decision_frame(log: DecisionLog) -> pd.DataFrame:
    frame = pd.DataFrame.from_records(log.rows(), columns=list(DECISION_COLUMNS))
    times = dict.fromkeys(("time_s", "last_s", "value", "limit"), "float64")
    numbers = ("request", "replica", "iteration", "tokens", "count", "last_iteration")
    return frame.astype({**times, **dict.fromkeys(numbers, "int64"), "other": "Int64"})


def _steps(rows: abc.Sequence[tuple[float, ...]]) -> pd.DataFrame:
    """The steps table, rows that continue the row before joined (law L11).

    How the simulator grouped iterations into stretches then leaves no trace.
    """
    values = np.array(rows, dtype=np.float64).reshape(len(rows), len(STEP_COLUMNS))
    columns = dict(zip(STEP_COLUMNS, values.T, strict=True))
    order = np.lexsort((columns["start_s"], columns["replica"]))
    columns = {name: column[order] for name, column in columns.items()}
    starts = np.flatnonzero(~_continues(columns))
    joined = {name: column[starts] for name, column in columns.items()}
    joined["end_s"] = columns["end_s"][np.append(starts[1:], len(rows))[: starts.size] - 1]
    for name in ("repeat", "tokens_to_cpu", "tokens_to_gpu", "extrapolated"):
        joined[name] = np.add.reduceat(columns[name], starts) if rows else columns[name]
    whole = {name: np.int64 for name in STEP_COLUMNS if name not in _STEP_TIMES}
    return pd.DataFrame({n: column.astype(whole.get(n)) for n, column in joined.items()})


def _continues(columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.bool_]:
    """Which rows go on where the row before ended.

    Both are on one replica, hold nothing but the same decodes, and no request came or went between.
    """
    before = {name: column[:-1] for name, column in columns.items()}
    after = {name: column[1:] for name, column in columns.items()}
    same = (after["start_s"] == before["end_s"]) & (after["prefill_tokens"] == 0)
    for name in _STEADY:
        same &= after[name] == before[name]
    grown = before["kv_tokens"] + before["decode_jobs"] * before["repeat"]
    same &= after["kv_tokens"] == grown
    return np.append(np.zeros(min(1, len(columns["start_s"])), np.bool_), same)


_STEADY = (
    "replica", "decode_jobs", "decode_jobs_rt", "running_rt", "running_be", "waiting_rt",
    "waiting_be",
)  # fmt: skip
"""What does not change while the same decodes go on."""
