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
}
"""The engine arguments that a replay obeys; ``null`` is the engine's default."""
ONE_ONLY = ("data_parallel_size", "pipeline_parallel_size")
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
    the engine took it in) and ``block_hashes_16`` (of the prompt's full 16-token blocks, chained).
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
    for name in (*TIMES, *COUNTS, *([QUEUED] if QUEUED in table else [])):
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
    inner = data.get("engine_kwargs", {})
    if not isinstance(inner, dict):
        raise InputError(f"{path}: engine_kwargs: should be a mapping")
    given = {str(k).replace("-", "_"): v for k, v in {**data, **inner}.items()}
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
        f"{path}: {name}: {given[name]} replicas or stages cannot be replayed, only 1"
        for name in ONE_ONLY
        if given.get(name) not in (None, 1)
    ]
    if faults:
        raise InputError(*faults)
    version = data.get("vllm_version")
    stated = None if version is None else str(version)
    return EngineArguments(path, stated, values, tuple(_notes(path, given)))


def _is(value: object, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    if kind is int:
        return isinstance(value, int) and value >= 0
    return isinstance(value, (int, float) if kind is float else kind)


def _notes(path: Path, given: dict[str, object]) -> Iterator[str]:
    """Ignored arguments that look like a slip of an obeyed one."""
    for name in given:
        close = difflib.get_close_matches(name, ARGUMENTS, n=1, cutoff=NOTED)
        if name not in ARGUMENTS and close and close[0] not in given:
            yield f"{path}: {name}: not used (did you mean '{close[0]}'?)"
