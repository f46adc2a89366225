"""Steps whose cost is known, and small kernel tables in the layout of the real ones."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd

from bros_sim.calibration.step_rows import StepRow, sample_shapes, step_row, steps_frame
from bros_sim.latency.parameters import (
    DecodeAttention,
    DecodeLine,
    Hybrid,
    Line,
    Linear,
    PrefillAttention,
    Roofline,
)
from bros_sim.latency.term_parameters import PerSequence, TokenCurve, Validity

RANGE = Validity(4096, 128, 131072, 8192, 4096, 4096)
HYBRID = Hybrid(
    tokens=TokenCurve((1, 64, 128, 512, 1024, 4096), (8.0, 8.6, 9.5, 26.0, 50.0, 190.0)),
    decode_attention=DecodeAttention(
        (1, 8, 32, 128), (0.0, 0.1, 0.3, 0.8), (9e-5, 8e-5, 8.5e-5, 7e-5)
    ),
    prefill_attention=PrefillAttention(0.4, 0.05, 5e-4, 3e-6, 1e-4),
    head=PerSequence(0.0, 0.01),
    overhead=PerSequence(),
    validity=RANGE,
)
LINEAR = Linear(12.0, 0.05, 2e-6, decode=DecodeLine(9.0, 0.05, 9e-5), validity=RANGE)
ROOFLINE = Roofline(
    memory=Line(10.0, 0.002),
    compute=Line(1.0, 0.05),
    decode_ms=0.3,
    decode_per_seq_ms=0.004,
    decode_per_kv_token_ms=8e-5,
    prefill_ms=0.0,
    prefill_per_chunk_ms=0.2,
    prefill_per_token2_ms=3e-6,
    overhead=PerSequence(),
    validity=RANGE,
)
MODELS = {"hybrid": HYBRID, "linear": LINEAR, "roofline": ROOFLINE}


def rows_of(model, count, *, seed=0, noise=0.0) -> list[StepRow]:
    """Random iterations and what they cost, with relative noise."""
    shapes = sample_shapes(RANGE, count, seed)
    error = np.exp(noise * np.random.default_rng(seed + 1000).standard_normal(count))
    running = model.make()
    times = [running.step_s(shape) * factor for shape, factor in zip(shapes, error, strict=True)]
    return [step_row(shape, time, 3) for shape, time in zip(shapes, times, strict=True)]


def steps_of(model, count, *, seed=0, noise=0.0) -> pd.DataFrame:
    """The same as a frame."""
    return steps_frame(rows_of(model, count, seed=seed, noise=noise))


def write_tables(folder: Path, gpu: str = "a100_sxm") -> Path:
    """Kernels of a card that does exactly 200 TFLOPS and 1 TB/s, and launches in 5 us."""
    (folder / "aiconfigurator").mkdir(parents=True)
    m = np.array([1, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192])
    grid = np.array([512, 1024, 4096, 8192, 16384])
    gemm = _product(m=m, n=grid, k=grid)
    gemm["latency_ms"] = 0.005 + _gemm_ms(gemm["m"], gemm["n"], gemm["k"])
    lengths = np.array([1, 16, 64, 256, 512, 1024, 2048, 4096, 8192, 16384])
    heads = [(32, 8), (8, 8), (16, 4)]
    context = _attention(np.array([1, 2, 4, 8, 16]), lengths, heads)
    pairs = context["batch_size"] * context["tokens"] ** 2 / 2
    context["latency_ms"] = 0.005 + 4 * pairs * context["num_heads"] * 128 / 2e11
    decode = _attention(2 ** np.arange(11), lengths, heads)
    kv_bytes = 4 * 128 * decode["num_key_value_heads"] * decode["batch_size"] * decode["tokens"]
    decode["latency_ms"] = 0.005 + kv_bytes / 1e9
    decode = decode[decode["batch_size"] * decode["tokens"] <= 2**20]
    ranks = _product(num_gpus=np.array([2]), message_size=2 ** np.arange(8, 28))
    ranks["latency_ms"] = 0.01 + ranks["message_size"] / 1e8
    _save(folder, "gemm", gemm, gpu)
    _save(folder, "context_attention", context.rename(columns={"tokens": "isl"}), gpu)
    decode = decode.assign(step=decode["tokens"] - 1).drop(columns="tokens")
    _save(folder, "generation_attention", decode, gpu)
    _save(folder, "custom_allreduce", ranks.assign(backend="vllm_graph"), gpu)
    return folder


def _gemm_ms(m, n, k):
    return np.maximum(2 * m * n * k / 2e11, 2 * n * k / 1e9)


def _product(**axes) -> pd.DataFrame:
    index = pd.MultiIndex.from_product(axes.values(), names=list(axes))
    return index.to_frame(index=False)


def _attention(batch, tokens, heads) -> pd.DataFrame:
    parts = [_product(batch_size=batch, tokens=tokens) for _ in heads]
    for part, (query, kv) in zip(parts, heads, strict=True):
        part["num_heads"], part["num_key_value_heads"] = query, kv
    return pd.concat(parts, ignore_index=True)


def _save(folder: Path, name: str, frame: pd.DataFrame, gpu: str) -> None:
    path = folder / "aiconfigurator" / f"vllm_{name}.csv.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        frame.assign(gpu=gpu).to_csv(file, index=False)
