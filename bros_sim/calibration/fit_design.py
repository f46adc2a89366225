"""Latency models over a steps frame: every model is linear in its coefficients, piecewise.

``design(model, steps) @ coefficients(model)`` is what the model's ``step_s`` says, in milliseconds.
For ``linear`` and ``roofline`` the pieces are the sides of a maximum, and the design is that of the
side that counts at the model's own coefficients: it is then also the Jacobian.
"""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bros_sim.calibration.step_rows import steps_frame
from bros_sim.latency.parameters import Hybrid, Linear, Roofline
from bros_sim.latency.terms import MS
from bros_sim.profiles.uncertainty import get_coefficient, set_coefficient

Floats = NDArray[np.float64]
Fitted = Hybrid | Linear | Roofline
"""The forms that can be fitted."""
M = TypeVar("M", Hybrid, Linear, Roofline)
Columns = dict[str, Floats]
"""Path of a coefficient (``head.const_ms``) or list of them -> its columns, a row per iteration."""


def predict_s(model: Fitted, steps: pd.DataFrame) -> Floats:
    """Seconds of each row, as ``step_s`` gives them for shapes with these sums.

    Raises:
        ValueError: ``linear`` with a bound on its quadratic term needs the single chunks.
    """
    coefficients = np.concatenate(list(coefficients_of(model).values()))
    return np.asarray(MS * (np.hstack(list(design(model, steps).values())) @ coefficients))


def design(model: Fitted, steps: pd.DataFrame) -> Columns:
    """The columns that each coefficient is multiplied with, in the order of ``coefficients_of``."""
    if isinstance(model, Hybrid):
        columns = hybrid_columns(steps, model.tokens.n, model.decode_attention.batch)
        return {key: model.whole_iteration_factor * values for key, values in columns.items()}
    return _linear(model, steps) if isinstance(model, Linear) else _roofline(model, steps)


def coefficients_of(model: Fitted) -> dict[str, Floats]:
    """Path -> its one or more coefficients in milliseconds."""
    paths = design(model, steps_frame(()))
    return {path: np.atleast_1d(np.asarray(get_coefficient(model, path), float)) for path in paths}


def six_digits(value: float) -> float:
    """A coefficient as files hold it."""
    return float(f"{value:.6g}")


def hybrid_columns(
    steps: pd.DataFrame, knots: tuple[int, ...], batches: tuple[int, ...]
) -> Columns:
    """The design of ``hybrid`` for given knots of tokens and of decode batch sizes."""
    tokens, chunks, seqs, kv = _counts(steps)
    n = tokens + seqs
    curve = hats(n, knots)
    curve[:, -1] *= np.maximum(1.0, n / knots[-1])
    decode = hats(seqs, batches) * (seqs > 0)[:, None]
    one = np.ones_like(n)
    return {
        "tokens.ms": curve,
        "head.const_ms": one[:, None],
        "head.per_seq_ms": (seqs + chunks)[:, None],
        "overhead.const_ms": one[:, None],
        "overhead.per_seq_ms": seqs[:, None],
        "decode_attention.const_ms": decode,
        "decode_attention.per_kv_token_ms": decode * kv[:, None],
        "prefill_attention.const_ms": (seqs == 0).astype(float)[:, None],
        "prefill_attention.per_chunk_ms": chunks[:, None],
        "prefill_attention.per_token_ms": tokens[:, None],
        "prefill_attention.per_token2_ms": _column(steps, "prefill_attention_pairs"),
        "prefill_attention.per_context_token_ms": _column(steps, "prefill_context_tokens"),
    }


def hats(x: Floats, grid: tuple[int, ...]) -> Floats:
    """Weight of each point of a grid in the linear interpolation at ``x``; constant outside."""
    unit = np.eye(len(grid))
    return np.stack([np.interp(x, grid, row) for row in unit], axis=1)


def with_coefficients(model: M, values: Mapping[str, Floats]) -> M:
    """The model with some of its coefficients replaced, by path."""
    changed = model
    for path, new in values.items():
        changed = set_coefficient(changed, path, new)
    return changed


def _linear(model: Linear, steps: pd.DataFrame) -> Columns:
    if model.prefill_quadratic_to is not None or model.large_batch is not None:
        raise ValueError("only a linear model of one line each is taken over sums of chunks")
    tokens, chunks, seqs, kv = _counts(steps)
    line = model.decode
    decode = line.const_ms + line.per_seq_ms * seqs + line.per_kv_token_ms * kv
    by_decode = (seqs > 0) & ((chunks == 0) | (decode >= model.prefill_ms))
    on = by_decode.astype(float)
    return {
        "prefill_ms": (1 - on)[:, None],
        "prefill_per_token_ms": tokens[:, None],
        "prefill_per_token2_ms": 2 * _column(steps, "prefill_attention_pairs"),
        "decode.const_ms": on[:, None],
        "decode.per_seq_ms": (on * seqs)[:, None],
        "decode.per_kv_token_ms": (on * kv)[:, None],
    }


def _roofline(model: Roofline, steps: pd.DataFrame) -> Columns:
    tokens, chunks, seqs, kv = _counts(steps)
    n, decodes = tokens + seqs, (seqs > 0).astype(float)
    memory = model.memory.const_ms + model.memory.per_token_ms * n
    compute = model.compute.const_ms + model.compute.per_token_ms * n
    by_compute = (compute > memory).astype(float)
    return {
        "memory.const_ms": (1 - by_compute)[:, None],
        "memory.per_token_ms": ((1 - by_compute) * n)[:, None],
        "compute.const_ms": by_compute[:, None],
        "compute.per_token_ms": (by_compute * n)[:, None],
        "decode_ms": decodes[:, None],
        "decode_per_seq_ms": seqs[:, None],
        "decode_per_kv_token_ms": kv[:, None],
        "prefill_ms": (1 - decodes)[:, None],
        "prefill_per_chunk_ms": chunks[:, None],
        "prefill_per_token2_ms": _column(steps, "prefill_attention_pairs"),
        "overhead.const_ms": np.ones_like(n)[:, None],
        "overhead.per_seq_ms": seqs[:, None],
    }


def _counts(steps: pd.DataFrame) -> tuple[Floats, Floats, Floats, Floats]:
    """Prompt tokens, chunks, decode requests and their KV of each row."""
    names = ("prefill_tokens", "prefill_chunks", "decode_jobs", "decode_kv_tokens")
    tokens, chunks, seqs, kv = (steps[name].to_numpy(float) for name in names)
    return tokens, chunks, seqs, kv


def _column(steps: pd.DataFrame, name: str) -> Floats:
    return steps[name].to_numpy(float)[:, None]
