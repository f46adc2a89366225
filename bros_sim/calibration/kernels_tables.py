"""Kernel time tables of a GPU, read from a folder that lies outside of the repository.

The layout is that of tables cut from aiconfigurator 0.8.0 (Apache-2.0);
docs/latency.md lists files and columns. All times are milliseconds.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bros_sim.core.errors import InputError

Floats = NDArray[np.float64]

FILES = {
    "gemm": ("aiconfigurator/vllm_gemm.csv.gz", ("gpu", "m", "n", "k", "latency_ms")),
    "context": (
        "aiconfigurator/vllm_context_attention.csv.gz",
        ("gpu", "batch_size", "isl", "num_heads", "num_key_value_heads", "latency_ms"),
    ),
    "generation": (
        "aiconfigurator/vllm_generation_attention.csv.gz",
        ("gpu", "batch_size", "step", "num_heads", "num_key_value_heads", "latency_ms"),
    ),
    "allreduce": (
        "aiconfigurator/vllm_custom_allreduce.csv.gz",
        ("gpu", "num_gpus", "message_size", "backend", "latency_ms"),
    ),
}
"""Table -> file below the folder, and the columns that are used."""
TABLE_GPUS = {
    "a100-80gb": "a100_sxm",
    "h100-80gb": "h100_sxm",
    "h200-141gb": "h200_sxm",
    "l40s-48gb": "l40s",
}
"""GPU of a profile id -> its name in the tables."""
MADE_WITH = {gpu: "0.12" if gpu.startswith("h200") else "0.14" for gpu in TABLE_GPUS}
"""GPU of a profile id -> vLLM release whose kernels were timed."""
TABLE_HEAD_DIM = 128
"""All attention cells have heads of this size."""


@dataclass(frozen=True)
class KernelTables:
    """The rows of one GPU, unchanged but for medians over repeated cells."""

    gpu: str
    gemm: pd.DataFrame
    context: pd.DataFrame
    generation: pd.DataFrame
    allreduce: pd.DataFrame


def read_tables(folder: Path, gpu: str) -> KernelTables:
    """The kernel tables of a GPU, named as in profile ids (``a100-80gb``).

    Raises:
        InputError: There are no tables for this GPU, or a file is missing or lacks a column.
    """
    if gpu not in TABLE_GPUS:
        known = ", ".join(TABLE_GPUS)
        raise InputError(f"--tables {folder}: no kernel tables of the GPU '{gpu}' (known: {known})")
    name = TABLE_GPUS[gpu]
    frames = {
        table: _of_gpu(folder / file, columns, name) for table, (file, columns) in FILES.items()
    }
    graph = frames["allreduce"]
    frames["allreduce"] = graph[graph["backend"] == "vllm_graph"].drop(columns="backend")
    return KernelTables(gpu, **{table: _medians(frame) for table, frame in frames.items()})


def read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A kernel table that has these columns, among others.

    Raises:
        InputError: It cannot be read or lacks one.
    """
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot be read as a kernel table: {error}") from None
    missing = [name for name in columns if name not in frame]
    if missing:
        raise InputError(f"{path}:1: missing columns: {', '.join(missing)}")
    return frame


def _of_gpu(path: Path, columns: tuple[str, ...], gpu: str) -> pd.DataFrame:
    frame = read_table(path, columns)
    return frame.loc[frame["gpu"] == gpu, [name for name in columns if name != "gpu"]]


def _medians(frame: pd.DataFrame) -> pd.DataFrame:
    keys = [name for name in frame if name != "latency_ms"]
    return frame.groupby(keys)["latency_ms"].median().reset_index()
