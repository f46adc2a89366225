"""Kernel times of a GPU (ms), as cut from aiconfigurator 0.8.0, and attention between their cells.

The tables (Apache-2.0; docs/latency.md lists files and columns) lie outside of the repository.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bros_sim.calibration.step_rows import Floats
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
SPLIT_SEED = 20261  # seed of the split of attention cells; recorded errors belong to it
HELD_OUT = 0.3  # share of the inner cells (between ends of a batch size) that the fit does not see


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


@dataclass(frozen=True)
class Heads:
    """Heads of one rank as the table has them: ``fold`` times fewer, in ``fold`` times the batch.

    Attention kernels treat requests and KV heads alike, as independent work. vLLM's tables have no
    multi-head decode; 32 KV heads for B requests are read as 8 for 4 * B.
    """

    query: int
    kv: int
    fold: int
    scale: float


def heads_of(table: pd.DataFrame, query: int, kv: int, head_dim: int) -> Heads:
    """The rows for these heads: exact, else folded, else the next wider; `InputError` if none.

    Time is taken in proportion to ``head_dim``, which is fixed in the tables.
    """
    known = table[["num_heads", "num_key_value_heads"]].drop_duplicates()
    scale = head_dim / TABLE_HEAD_DIM
    for fold in (n for n in range(1, kv + 1) if kv % n == 0 and query % n == 0):
        same = known[known["num_key_value_heads"] == kv // fold]
        wide_enough = same.loc[same["num_heads"] >= query // fold, "num_heads"]
        if not wide_enough.empty:
            return Heads(int(wide_enough.min()), kv // fold, fold, scale)
    raise InputError(
        f"the attention tables have no rows for {query} query and {kv} KV heads a rank"
    )


@dataclass(frozen=True)
class Grid:
    """Milliseconds of one layer over (batch, tokens of each request), not all cells filled.

    Linear in the tokens within a batch size, then linear between batch sizes; beyond the longest
    cell of a batch size the last line goes on. ``held_out`` marks the cells of the test half.
    """

    cells: pd.DataFrame

    @classmethod
    def of(cls, table: pd.DataFrame, heads: Heads, tokens: str, seed: int = SPLIT_SEED) -> "Grid":
        """Rows of these heads, their batch unfolded; ``tokens`` names the column of lengths."""
        same = (table["num_heads"] == heads.query) & (table["num_key_value_heads"] == heads.kv)
        rows = table[same & (table["batch_size"] % heads.fold == 0)]
        values = {
            "batch": rows["batch_size"] // heads.fold,
            "tokens": rows[tokens],
            "ms": rows["latency_ms"] * heads.scale,
        }
        cells = pd.DataFrame(values).sort_values(["batch", "tokens"], ignore_index=True)
        lengths = cells.groupby("batch")["tokens"]
        first, last = lengths.transform("min"), lengths.transform("max")
        drawn = np.random.default_rng(seed).random(len(cells)) < HELD_OUT
        cells["held_out"] = drawn & (cells["tokens"] > first) & (cells["tokens"] < last)
        return cls(cells)

    def training(self) -> "Grid":
        """The same without the held-out cells."""
        return Grid(self.cells[~self.cells["held_out"]].reset_index(drop=True))

    @property
    def floor_ms(self) -> float:
        """The shortest kernel: what launching it costs."""
        return float(self.cells["ms"].min())

    def ms(self, batch: Floats, tokens: Floats) -> Floats:
        """Milliseconds at any batch and length, element by element."""
        rows = [part for _, part in self.cells.groupby("batch")]
        sizes = np.array([part["batch"].iloc[0] for part in rows], dtype=float)
        each = np.stack([_extended(tokens, part) for part in rows])
        right = np.clip(np.searchsorted(sizes, batch), 1, sizes.size - 1)
        low, high = sizes[right - 1], sizes[right]
        reach = np.clip((batch - low) / (high - low), 0, None)
        item = np.arange(batch.size)
        return np.asarray((1 - reach) * each[right - 1, item] + reach * each[right, item])


def _extended(x: Floats, cells: pd.DataFrame) -> Floats:
    grid, ms = cells["tokens"].to_numpy(float), cells["ms"].to_numpy(float)
    inside: Floats = np.asarray(np.interp(x, grid, ms))
    if grid.size < 2:
        return inside
    slope = max(0.0, (ms[-1] - ms[-2]) / (grid[-1] - grid[-2]))
    return np.asarray(np.where(x > grid[-1], ms[-1] + slope * (x - grid[-1]), inside))
