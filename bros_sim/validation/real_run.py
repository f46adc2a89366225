"""A run of a real engine: its requests with measured times, and the engine's arguments."""

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bros_sim.core.errors import InputError

COUNTS = ("prompt_tokens", "output_tokens")
TIMES = ("arrival_s", "first_token_s", "last_token_s")
QUEUED = "queued_s"
INTENDED = "intended_arrival_s"
HASHES = "block_hashes_16"
HASH_BLOCK_TOKENS = 16
MAX_FAULTS = 10

KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


class Argument(NamedTuple):
    """An engine argument: type, least value, and its name in `VllmParameters`, if it is there."""

    kind: type
    least: int = 0
    scheduler: str | None = None


ARGUMENTS = {
    "max_num_seqs": Argument(int, 1, "max_num_seqs"),
    "max_num_batched_tokens": Argument(int, 1, "max_num_batched_tokens"),
    "max_model_len": Argument(int, 1),
    "num_gpu_blocks": Argument(int, 2),
    "num_gpu_blocks_override": Argument(int, 2),
    "block_size": Argument(int, 1),
    "enable_prefix_caching": Argument(bool),
    "enable_chunked_prefill": Argument(bool, 0, "enable_chunked_prefill"),
    "long_prefill_token_threshold": Argument(int, 0, "long_prefill_token_threshold"),
    "scheduler_reserve_full_isl": Argument(bool, 0, "scheduler_reserve_full_isl"),
    "watermark": Argument(float, 0, "watermark"),
    "async_scheduling": Argument(bool),
    "scheduling_policy": Argument(str, 0, "policy"),
    "tensor_parallel_size": Argument(int),
    "gpu_memory_utilization": Argument(float),
    "kv_cache_dtype": Argument(str),
    "replicas": Argument(int, 1),
    "data_parallel_size": Argument(int, 1),
    "max_concurrency": Argument(int, 1),
}
"""What a replay obeys: engine arguments (``null`` is the engine's default), the number of equal
servers, and the most requests that the client keeps in flight."""
WITHOUT_EFFECT = frozenset(
    [
        "model", "tokenizer", "tokenizer_mode", "dtype", "seed", "host", "port",
        "served_model_name", "api_key", "revision", "trust_remote_code", "load_format",
        "download_dir", "disable_log_stats", "disable_log_requests", "enable_log_requests",
        "uvicorn_log_level", "disable_uvicorn_access_log", "max_log_len", "chat_template",
        "generation_config", "distributed_executor_backend", "device", "tool_call_parser",
        "reasoning_parser", "enable_auto_tool_choice", "max_num_scheduled_tokens",
        "runner_type", "stream_interval", "encoder_cache_size", "max_num_encoder_input_tokens",
        "policy",
        # Which GPU holds which part of the experts: with or without it each holds an equal share.
        "enable_expert_parallel",
    ]
)  # fmt: skip
"""Engine arguments that leave what is simulated as it is, or that are read by another name."""
ABOUT = frozenset(
    [
        "vllm_version", "model", "num_requests", "hardware", "workload", "client", "source",
        "licence", "stated", "inferred", "traps", "server", "engine_kwargs", "kv_cache",
        "scheduler_config", "notes", "replicas",
    ]
)  # fmt: skip
"""What else a file of arguments may say of the run."""
NEUTRAL: tuple[object, ...] = (None, False, "auto", "", 0, 1, {}, [])
"""Values of an argument that is not modelled with which the server is the plain one."""
ONE_ONLY = ("pipeline_parallel_size",)
NOTED = 0.85  # an ignored argument that is this much like an obeyed one is pointed out


@dataclass(frozen=True)
class EngineArguments:
    """What the replay knows of the engine; ``None``: not stated, the engine's default."""

    file: Path
    vllm_version: str | None
    values: dict[str, Any]
    notes: tuple[str, ...] = ()

    def get(self, name: str, default: Any) -> Any:  # noqa: ANN401 - values of several types
        """The value of an argument, or ``default`` where none is stated."""
        value = self.values.get(name)
        return default if value is None else value

    def scheduler(self) -> dict[str, Any]:
        """Those of the scheduler, as `VllmParameters` calls them."""
        stated = {a.scheduler: self.values.get(name) for name, a in ARGUMENTS.items()}
        return {field: value for field, value in stated.items() if field and value is not None}


def read_requests(path: Path) -> pd.DataFrame:
    """The requests of a run in order of arrival, every time and count checked.

    Beside the columns of `RequestRow`, whose clock is the client's, there may be ``queued_s`` (when
    the engine took it in), ``intended_arrival_s`` (when a client without a cap would have sent it)
    and ``block_hashes_16`` (of the prompt's full 16-token blocks, chained).
    """
    try:
        table = pd.read_csv(path, dtype={HASHES: str, "request_id": str}, keep_default_na=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError) as error:
        raise InputError(f"{path}: not a readable CSV file: {error}") from None
    missing = [name for name in (*TIMES, *COUNTS) if name not in table]
    if missing:
        raise InputError(*(f"{path}:1: there is no column '{name}'" for name in missing))
    if not len(table):
        raise InputError(f"{path}: holds no request")
    faults = _faults(path, table)
    if faults:
        more = len(faults) - MAX_FAULTS
        raise InputError(*faults[:MAX_FAULTS], *([f"{path}: and {more} more"] if more > 0 else []))
    return table.sort_values("arrival_s", kind="stable", ignore_index=True)


def _faults(path: Path, table: pd.DataFrame) -> list[str]:
    found: list[tuple[int, str]] = []
    numbers = {}
    for name in (*TIMES, *COUNTS, *(name for name in (QUEUED, INTENDED) if name in table)):
        values = numbers[name] = pd.to_numeric(table[name], errors="coerce").to_numpy(float)
        wrong = ~np.isfinite(values) | (values < (1 if name in COUNTS else 0))
        if name in COUNTS:
            wrong |= values != np.floor(values)
        what = "a whole number of at least 1" if name in COUNTS else "a time of at least 0"
        rows = np.flatnonzero(wrong)
        found += [(int(n), f"{name}: should be {what} (got {table[name][n]})") for n in rows]
    if not found:
        arrival, first, last = (numbers[name] for name in TIMES)
        what = "arrival_s, first_token_s and last_token_s are not in order"
        found += [(int(n), what) for n in np.flatnonzero((arrival > first) | (first > last))]
    if HASHES in table:
        whole = table[HASHES].fillna("").str.fullmatch(r"(\d+( \d+)*)?").to_numpy(bool)
        what = f"{HASHES}: should be whole numbers with a blank between"
        found += [(int(n), what) for n in np.flatnonzero(~whole)]
    return [f"{path}:{n + 2}: {what}" for n, what in sorted(found)]


def read_arguments(path: Path) -> EngineArguments:
    """The engine arguments of a run: JSON, the arguments under ``engine_kwargs`` or at the top.

    Dashes in names are read as underscores. An argument that a replay cannot obey is ignored; one
    that would change what it mirrors is refused with `InputError`, as are values that cannot be.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: should be a mapping")
    given, arguments = _given(path, data)
    values = {name: given[name] for name in ARGUMENTS if given.get(name) is not None}
    faults = [
        f"{path}: {name}: should be {KINDS[ARGUMENTS[name].kind]} (got {json.dumps(value)})"
        for name, value in values.items()
        if not _is(value, ARGUMENTS[name].kind)
    ]
    faults += [
        f"{path}: {name}: should be at least {ARGUMENTS[name].least} (got {value})"
        for name, value in values.items()
        if _is(value, int) and value < ARGUMENTS[name].least
    ]
    faults += [
        f"{path}: {name}: {given[name]} stages cannot be replayed, only 1"
        for name in ONE_ONLY
        if given.get(name) not in (None, 1)
    ]
    if faults:
        raise InputError(*faults)
    version = data.get("vllm_version")
    stated = None if version is None else str(version)
    return EngineArguments(path, stated, values, tuple(_notes(path, arguments)))


def _is(value: object, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    if kind is int:
        return isinstance(value, int) and value >= 0
    return isinstance(value, (int, float) if kind is float else kind)


def _given(path: Path, data: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """All that the file states, by names with underscores; and the engine arguments among it."""
    parts = {name: data.get(name) or {} for name in ("engine_kwargs", *BESIDE, "client")}
    wrong = [name for name, part in parts.items() if not isinstance(part, dict)]
    if wrong:
        raise InputError(*(f"{path}: {name}: should be a mapping" for name in wrong))
    inner = _underscored(parts["engine_kwargs"])
    outer = {k: v for k, v in _underscored(data).items() if k not in ABOUT}
    beside = [_underscored(parts[name]) for name in BESIDE]
    client = {k: v for k, v in parts["client"].items() if k == "max_concurrency"}
    stated = {"replicas": data.get("replicas")} | client
    for part in (*beside, outer, inner):
        stated |= {k: v for k, v in part.items() if v is not None}
    return stated, inner or outer


BESIDE = ("kv_cache", "scheduler_config")
"""Where LLMServingSim's runs state more of the engine than its arguments."""


def _underscored(part: dict[Any, Any]) -> dict[str, Any]:
    return {str(name).lstrip("-").replace("-", "_"): value for name, value in part.items()}


def _neutral(value: object) -> bool:
    """Whether an argument has a value with which the server is the plain one; True equals 1."""
    return value is not True and value in NEUTRAL


def _notes(path: Path, given: dict[str, object]) -> Iterator[str]:
    """Arguments that are not modelled though they may change the server."""
    for name, value in given.items():
        if name in ARGUMENTS or name in WITHOUT_EFFECT or name in ONE_ONLY or _neutral(value):
            continue
        close = difflib.get_close_matches(name, ARGUMENTS, n=1, cutoff=NOTED)
        hint = f" (did you mean '{close[0]}'?)" if close and close[0] not in given else ""
        yield f"{path}: {name}: not modelled, the replay leaves it out{hint}"
