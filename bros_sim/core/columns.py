"""The one registry of table columns: what record, store, metrics, docs and readers know of them.

A new column is one line here and one in the place that fills it: `RunLog.add_request` for what the
engine knows of a request, `metrics.requests.request_metrics` for what is computed after the run.
"""

from dataclasses import dataclass
from typing import Literal

DType = Literal["str", "int64", "Int64", "float64", "boolean"]
"""As pandas names them; ``Int64`` and ``boolean`` may be missing, a missing float is NaN."""
Source = Literal["workload", "engine", "metrics"]
"""Who knows it: the client who sent the request, the engine, or nobody before the run is over."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. ``unit`` is empty for names, words and plain numbers."""

    name: str
    dtype: DType
    unit: str
    text: str
    source: Source = "engine"
    stored: bool = True
    """Whether it is written with a point; others live as long as the run."""


REQUESTS = (
    Column("request_id", "str", "", "its stream and its number there", "workload"),
    Column("stream", "str", "", "name under `workload`", "workload"),
    Column("class", "str", "", "`rt` or `be`", "workload"),
    Column("arrival_s", "float64", "s", "arrival at the cluster"),
    Column("prompt_tokens", "int64", "tokens", "length of the prompt", "workload"),
    Column("output_tokens", "int64", "tokens", "true length of the output", "workload"),
    Column("max_tokens", "int64", "tokens", "the client's cap on the output", "workload"),
    Column("ttft_slo_s", "float64", "s", "SLO of the first token", "workload"),
    Column("tpot_slo_s", "float64", "s", "SLO of the mean time per later token", "workload"),
    Column("e2e_slo_s", "float64", "s", "SLO of the last token", "workload"),
    Column("replica", "int64", "", "number of the engine that served it, from 0"),
    Column("status", "str", "", "`completed`, `rejected` or `unfinished`"),
    Column("refusal", "str", "", "why it was rejected, a value of `Refusal`", stored=False),
    Column("queued_s", "float64", "s", "when the engine's front end handed it over", stored=False),
    Column("first_scheduled_s", "float64", "s", "start of the first iteration that computed it"),
    Column("first_token_s", "float64", "s", "end of the iteration with its first token"),
    Column("last_token_s", "float64", "s", "end of the iteration with its last token so far"),
    Column("generated_tokens", "int64", "tokens", "tokens that came out", stored=False),
    Column("ttft_s", "float64", "s", "arrival to first token", "metrics"),
    Column("tpot_s", "float64", "s", "mean time per token after the first", "metrics"),
    Column("max_itl_s", "float64", "s", "longest gap between two tokens", "metrics"),
    Column("e2e_s", "float64", "s", "arrival to last token, if completed", "metrics"),
    Column("cached_tokens", "int64", "tokens", "prompt tokens found in the prefix cache"),
    Column("num_preemptions", "int64", "", "how often it lost its KV"),
    Column("recomputed_tokens", "int64", "tokens", "KV computed again"),
    Column("swapped_blocks", "int64", "blocks", "KV blocks moved to the CPU"),
    Column("checkpointed_slots", "int64", "tokens", "KV saved on the CPU before it was lost"),
    Column("tokens_on_time", "int64", "tokens", "tokens by their deadline", "metrics"),
    Column("slo_met", "boolean", "", "completed, every SLO met; missing without SLO", "metrics"),
)
"""One row per arrived request, in order of arrival; times are NaN where nothing happened."""

STEPS = (
    Column("replica", "int64", "", "number of the engine"),
    Column("start_s", "float64", "s", "start of the first iteration"),
    Column("end_s", "float64", "s", "end of the last iteration"),
    Column("repeat", "int64", "iterations", "how many like iterations the row stands for"),
    Column("prefill_tokens", "int64", "tokens", "prompt tokens computed, chunks of one left out"),
    Column("decode_jobs", "int64", "requests", "requests that compute one token"),
    Column("decode_jobs_rt", "int64", "requests", "the real-time ones among them"),
    Column("kv_tokens", "int64", "tokens", "KV attended to, a shared prefix once for each request"),
    Column("kv_tokens_rt", "int64", "tokens", "that of real-time requests"),
    Column("free_blocks", "int64", "blocks", "KV blocks that nobody holds"),
    Column("running_rt", "int64", "requests", "running real-time requests"),
    Column("running_be", "int64", "requests", "running best-effort requests"),
    Column("waiting_rt", "int64", "requests", "waiting real-time requests"),
    Column("waiting_be", "int64", "requests", "waiting best-effort requests"),
    Column("tokens_to_cpu", "int64", "tokens", "KV copied to the CPU, all iterations together"),
    Column("tokens_to_gpu", "int64", "tokens", "KV copied back, all iterations together"),
    Column("extrapolated", "int64", "iterations", "those outside the latency model's range"),
)
"""One row per stretch of like iterations, by engine; state is that of the first, as planned."""

DECISIONS = (
    Column("request", "int64", "", "row in the requests table"),
    Column("replica", "int64", "", "number of the engine"),
    Column("time_s", "float64", "s", "instant of planning"),
    Column("iteration", "int64", "", "number of the iteration, from 0 in each engine"),
    Column("decision", "str", "", "what became of the request"),
    Column("reason", "str", "", "why, as the policy says; empty if it does not"),
    Column("other", "Int64", "", "row of the request that was the reason"),
    Column("tokens", "int64", "tokens", "its KV then; of one admitted: found in the prefix cache"),
    Column("value", "float64", "", "what the reason says"),
    Column("limit", "float64", "", "what the reason says"),
    Column("count", "int64", "iterations", "how many equal decisions the row stands for"),
    Column("last_s", "float64", "s", "instant of the last of them"),
    Column("last_iteration", "int64", "", "its iteration"),
)
"""One row per decision; ``other`` to ``limit`` are those of the first that the row stands for."""

SPANS = (
    Column("request", "int64", "", "row in the requests table"),
    Column("engine", "int64", "", "number of the engine"),
    Column("first_iteration", "int64", "", "iteration of its first token, from 0 in each engine"),
    Column("tokens", "int64", "tokens", "tokens in all"),
    Column("ended", "str", "", "why it ended"),
)
"""The request got one token in ``first_iteration`` and in each one after it, but for exceptions."""

EXCEPTIONS = (
    Column("request", "int64", "", "row in the requests table; -1: every request that decodes"),
    Column("engine", "int64", "", "number of the engine"),
    Column("iteration", "int64", "", "number of the iteration"),
    Column("tokens", "int64", "tokens", "tokens that came instead of one"),
)
"""Iterations of a span with several tokens or none. What is said of one request goes before what
is said of all; of all it does not hold in a span's first iteration, which is its own."""

ENGINES = (
    Column("engine", "int64", "", "its number, from 0 in the order in which engines came up"),
    Column("pool", "str", "", "pool of the cluster"),
    Column("profile", "str", "", "GPU and model"),
    Column("block_size", "int64", "tokens", "tokens that a KV block holds"),
    Column("kv_blocks", "int64", "blocks", "KV blocks when it came up"),
    Column("up_s", "float64", "s", "when it came up"),
    Column("down_s", "float64", "s", "when it went down; NaN if it was up at the end"),
)

TABLES = {
    "requests": REQUESTS, "steps": STEPS, "decisions": DECISIONS, "engines": ENGINES,
    "spans": SPANS, "exceptions": EXCEPTIONS,
}  # fmt: skip
"""Name of a table -> its columns, in order."""


def names(columns: tuple[Column, ...]) -> tuple[str, ...]:
    """Their names."""
    return tuple(column.name for column in columns)


def stored(columns: tuple[Column, ...]) -> tuple[str, ...]:
    """The names of the columns that are written with a point."""
    return names(tuple(column for column in columns if column.stored))


def logged(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """The columns that a run writes while it goes."""
    return tuple(column for column in columns if column.source != "metrics")
