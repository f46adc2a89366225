"""Kernel times of a GPU (ms), as cut from aiconfigurator 0.8.0 (Apache-2.0; docs/latency.md)."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bros_sim.core.errors import InputError

_HEADS = ("num_heads", "num_key_value_heads")
FILES = {
    "gemm": ("gemm", ("m", "n", "k")),
    "context": ("context_attention", ("batch_size", "isl", *_HEADS)),
    "generation": ("generation_attention", ("batch_size", "step", *_HEADS)),
    "allreduce": ("custom_allreduce", ("num_gpus", "message_size", "backend")),
}
"""Table -> its part of the file's name, and the columns that identify a row of one GPU."""
TABLE_GPUS = {
    "a100-80gb": "a100_sxm",
    "h100-80gb": "h100_sxm",
    "h200-141gb": "h200_sxm",
    "l40s-48gb": "l40s",
}
"""GPU of a profile id -> its name in the tables."""
MADE_WITH = {gpu: "0.12" if gpu.startswith("h200") else "0.14" for gpu in TABLE_GPUS}
"""GPU of a profile id -> vLLM release whose kernels were timed."""
TABLE_HEAD_DIM = 128  # all attention cells have heads of this size


@dataclass(frozen=True)
class KernelTables:
    """The rows of one GPU, unchanged but for medians over repeated cells."""

    gemm: pd.DataFrame
    context: pd.DataFrame
    generation: pd.DataFrame
    allreduce: pd.DataFrame


def read_tables(folder: Path, gpu: str) -> KernelTables:
    """The kernel tables of a GPU, named as in profile ids (``a100-80gb``)."""
    if gpu not in TABLE_GPUS:
        known = ", ".join(TABLE_GPUS)
        raise InputError(f"--tables {folder}: no kernel tables of the GPU '{gpu}' (known: {known})")
    tables = {}
    for table, (file, keys) in FILES.items():
        path = folder / "aiconfigurator" / f"vllm_{file}.csv.gz"
        frame = read_table(path, ("gpu", *keys, "latency_ms"))
        frame = frame[frame["gpu"] == TABLE_GPUS[gpu]]
        if "backend" in keys:
            frame = frame[frame["backend"] == "vllm_graph"]
        names = [key for key in keys if key != "backend"]
        tables[table] = frame.groupby(names)["latency_ms"].median().reset_index()
    return KernelTables(**tables)


def read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A kernel table; `InputError` if it cannot be read or lacks one of these columns."""
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot be read as a kernel table: {error}") from None
    missing = [name for name in columns if name not in frame]
    if missing:
        raise InputError(f"{path}:1: missing columns: {', '.join(missing)}")
    return frame
