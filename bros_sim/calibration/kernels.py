"""Iterations as sums of measured kernels: rows to fit on, and rows held out to judge the fit.

What is summed: dense layers and all-reduces, attention, LM head; nothing of the engine. Rows are
held out by attention cell: the fit sees rows made from the other cells alone, the judgement rows
from all. GEMM tables have 21 sizes of m, one per tiling, and are not split.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from bros_sim.calibration.fit_design import six_digits
from bros_sim.calibration.fit_forms import fit_hybrid
from bros_sim.calibration.kernels_dense import Dense
from bros_sim.calibration.kernels_tables import (
    SPLIT_SEED,
    Grid,
    KernelTables,
    heads_of,
    read_tables,
)
from bros_sim.calibration.step_rows import STEP_COLUMNS, Floats
from bros_sim.latency.parameters import Hybrid
from bros_sim.latency.term_parameters import PerSequence, Validity
from bros_sim.latency.terms import MS
from bros_sim.profiles.model_shape import ModelShape
from bros_sim.profiles.profile import Gpu

MAX_TOKENS = 8192  # tokens of an iteration: the largest GEMM of the tables
MAX_JOBS = 256
SHAPE = ["seqs", "kv", "chunks", "chunk", "context"]
HEAD = ("head.const_ms", "head.per_seq_ms")  # from the GEMM table alone, not fitted
MAX_CONTEXT = 8192
RANGE = Validity(
    max_tokens=MAX_TOKENS,
    max_decode_jobs=MAX_JOBS,
    max_chunk_tokens=MAX_TOKENS,
    max_context_tokens=MAX_CONTEXT,
)
LONGEST_MIXED_KV = 8192  # of a request in random rows, as in the shipped profiles' comparisons


@dataclass(frozen=True)
class Kernels:
    """The kernels of one rank of a (GPU, model, TP)."""

    dense: Dense
    prefill: Grid
    decode: Grid
    folded: int
    kv_read_ms: float
    """The least that decode attention takes for one KV token: its bytes over the bandwidth."""

    @classmethod
    def of(cls, tables: KernelTables, gpu: Gpu, model: ModelShape, tp: int) -> "Kernels":
        """Pick the cells of this model's heads; `InputError` if the tables have none for them."""
        query, kv = model.heads // tp, max(1, model.kv_heads // tp)
        context = heads_of(tables.context, query, kv, model.head_dim)
        generation = tables.generation.assign(kv_tokens=tables.generation["step"] + 1)
        heads = heads_of(generation, query, kv, model.head_dim)
        prefill = Grid.of(tables.context, context, "isl")
        decode = Grid.of(generation, heads, "kv_tokens")
        read_ms = model.kv_bytes_per_token(tp, "float16") / tp / (gpu.bandwidth_gb_s * 1e9) / MS
        return cls(Dense.of(tables, gpu, model, tp), prefill, decode, heads.fold, read_ms)

    def training(self) -> "Kernels":
        """The same without the held-out attention cells."""
        return replace(self, prefill=self.prefill.training(), decode=self.decode.training())

    def validity(self) -> Validity:
        """What the tables cover: KV of the largest batch, and of a request where 8 decode."""
        cells = self.decode.cells
        longest = cells[cells["batch"] <= MAX_JOBS].groupby("batch")["tokens"].max()
        seqs = int(longest.index.max())
        return replace(
            RANGE,
            max_decode_jobs=seqs,
            max_kv_tokens=seqs * int(longest[seqs]),
            max_kv_tokens_per_job=int(longest[longest.index <= 8].iloc[-1]),
        )

    def time_s(self, shapes: pd.DataFrame) -> Floats:
        """Kernel sums of iterations, which are rows with the columns `SHAPE`.

        ``kv`` and ``context`` are per request and per chunk; chunks of one row are equally long.
        A chunk after cached tokens costs what a whole prompt of equal attention work costs. Where
        prefill and decode share an iteration one kernel serves both: its launch counts once.
        """
        seqs, kv, chunks, chunk, context = (shapes[name].to_numpy(float) for name in SHAPE)
        whole = np.sqrt(2 * chunk * (context + chunk / 2))
        prefill = np.where(chunks > 0, self.prefill.ms(np.maximum(chunks, 1), whole), 0.0)
        decode = np.where(seqs > 0, self.decode.ms(np.maximum(seqs, 1), kv), 0.0)
        shared = np.where((seqs > 0) & (chunks > 0), self.prefill.floor_ms, 0.0)
        attention = np.maximum(prefill + decode - shared, np.maximum(prefill, decode))
        dense = self.dense.layers_ms(seqs + chunks * chunk) + self.dense.head_ms(seqs + chunks)
        return np.asarray(MS * (dense + self.dense.model.layers * attention))


def kernels_of(folder: Path, gpu_id: str, gpu: Gpu, model: ModelShape, tp: int) -> Kernels:
    """Read the tables of a GPU (named as in profile ids) and pick the model's kernels."""
    return Kernels.of(read_tables(folder, gpu_id), gpu, model, tp)


def training_rows(kernels: Kernels, within: Validity, random_rows: int = 2400) -> pd.DataFrame:
    """Rows for the fit: training cells, and random iterations between them."""
    seen = kernels.training()
    shapes = _random(within, random_rows, np.random.default_rng([SPLIT_SEED, 1]))
    return _rows(seen, [*_cells(seen.decode.cells, seen.prefill.cells), *shapes], within)


def held_out_rows(kernels: Kernels, within: Validity, random_rows: int = 1200) -> pd.DataFrame:
    """Rows to judge it by: held-out cells, and other random iterations over all cells."""
    left = [grid.cells[grid.cells["held_out"]] for grid in (kernels.decode, kernels.prefill)]
    shapes = _random(within, random_rows, np.random.default_rng([SPLIT_SEED, 2]))
    return _rows(kernels, [*_cells(*left), *shapes], within)


def _cells(decode: pd.DataFrame, prefill: pd.DataFrame) -> list[pd.DataFrame]:
    return [
        _shapes(seqs=decode["batch"], kv=decode["tokens"]),
        _shapes(chunks=prefill["batch"], chunk=prefill["tokens"]),
    ]


def _random(within: Validity, count: int, rng: np.random.Generator) -> list[pd.DataFrame]:
    """A quarter decode, a quarter one chunk alone (half of them after context), the rest both."""
    quarter = count // 4
    most, longest = within.max_decode_jobs or MAX_JOBS, within.max_kv_tokens_per_job or MAX_CONTEXT

    def seqs(n: int) -> dict[str, Floats]:
        kv = min(longest, LONGEST_MIXED_KV)
        return {"seqs": _log(rng, 1, most, n), "kv": _log(rng, 16, kv, n)}

    def chunk(n: int, top: int) -> dict[str, Floats]:
        context = np.where(rng.random(n) < 0.5, 0, _log(rng, 16, MAX_CONTEXT, n))
        return {"chunks": np.ones(n), "chunk": _log(rng, 16, top, n), "context": context}

    mixed = count - 2 * quarter
    return [
        _shapes(**seqs(quarter)),
        _shapes(**chunk(quarter, MAX_TOKENS)),
        _shapes(**seqs(mixed), **chunk(mixed, MAX_TOKENS // 2)),
    ]


def _log(rng: np.random.Generator, low: int, high: int, n: int) -> Floats:
    return np.floor(np.exp(rng.uniform(np.log(low), np.log(high + 1), n)))


def _shapes(**columns: "Floats | pd.Series[float]") -> pd.DataFrame:
    frame = pd.DataFrame({name: np.asarray(values, float) for name, values in columns.items()})
    return frame.reindex(columns=SHAPE, fill_value=0.0)


def _rows(kernels: Kernels, parts: list[pd.DataFrame], within: Validity) -> pd.DataFrame:
    shapes = pd.concat(parts, ignore_index=True)
    shapes["tokens"] = shapes["chunks"] * shapes["chunk"]
    shapes["kv_sum"] = shapes["seqs"] * shapes["kv"]
    inside = shapes["seqs"] + shapes["tokens"] <= MAX_TOKENS
    inside &= shapes["kv_sum"] <= (within.max_kv_tokens or np.inf)
    inside &= shapes["seqs"] <= (within.max_decode_jobs or np.inf)
    inside &= shapes["kv"] <= (within.max_kv_tokens_per_job or np.inf)
    shapes = shapes[inside].reset_index(drop=True)
    values = {
        "prefill_tokens": shapes["tokens"],
        "prefill_chunks": shapes["chunks"],
        "prefill_context_tokens": shapes["chunks"] * shapes["context"],
        "prefill_attention_pairs": shapes["tokens"] * (shapes["context"] + shapes["chunk"] / 2),
        "decode_jobs": shapes["seqs"],
        "decode_kv_tokens": shapes["kv_sum"],
        "time_s": kernels.time_s(shapes),
        "count": 1.0,
    }
    return pd.DataFrame(values, columns=list(STEP_COLUMNS)).astype(float)


def fit_kernels(kernels: Kernels, within: Validity) -> Hybrid:
    """The hybrid model of kernel sums, without anything of the engine, from the training rows.

    Its LM head is a line of the scheduled sequences, of least relative error up to the most.
    Decode attention takes the time of reading its KV at least. The tables' large batches have
    short sequences alone, whose KV stays in the cache: their own slope would promise more than the
    memory's bandwidth beyond the table.
    """
    sequences = np.arange(1.0, MAX_JOBS + 1)
    times = kernels.dense.head_ms(sequences)
    rows = np.stack([np.ones_like(sequences), sequences], axis=1) / times[:, None]
    head = PerSequence(*map(six_digits, nnls(rows, np.ones_like(times))[0]))
    seen = training_rows(kernels, within)
    reading_s = MS * kernels.kv_read_ms * seen["decode_kv_tokens"]
    model = fit_hybrid(seen.assign(time_s=seen["time_s"] - reading_s), within, head)
    slopes = model.decode_attention.per_kv_token_ms
    read = tuple(six_digits(slope + kernels.kv_read_ms) for slope in slopes)
    attention = replace(model.decode_attention, per_kv_token_ms=read)
    return replace(model, decode_attention=attention)
