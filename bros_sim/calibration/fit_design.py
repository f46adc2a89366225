"""Latency models over a steps frame: every model is linear in its coefficients, piecewise.

``design(model, steps) @ coefficients(model)`` is what the model's ``step_s`` says, in milliseconds.
For ``linear`` and ``roofline`` the pieces are the sides of a maximum, and the design is that of the
side that counts at the model's own coefficients: it is then also the Jacobian.
"""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import pandas as pd

from bros_sim.calibration.step_rows import Floats, steps_frame
from bros_sim.latency.parameters import Hybrid, Linear, Roofline
from bros_sim.latency.terms import MS
from bros_sim.profiles.uncertainty import get_coefficient, set_coefficient

Fitted = Hybrid | Linear | Roofline  # the forms that can be fitted
M = TypeVar("M", Hybrid, Linear, Roofline)
Columns = dict[str, Floats]
"""Path of a coefficient (``head.const_ms``) or list of them -> its columns, a row per iteration."""
COUNTS = (
    *("prefill_tokens", "prefill_chunks", "prefill_context_tokens", "prefill_attention_pairs"),
    *("decode_jobs", "decode_kv_tokens"),
)


def predict_s(model: Fitted, steps: pd.DataFrame) -> Floats:
    """Seconds of each row, as ``step_s`` gives them for shapes with these sums."""
    coefficients = np.concatenate(list(coefficients_of(model).values()))
    return np.asarray(MS * (np.hstack(list(design(model, steps).values())) @ coefficients))


def design(model: Fitted, steps: pd.DataFrame) -> Columns:
    """The columns that each coefficient is multiplied with, in the order of ``coefficients_of``."""
    counts = [steps[name].to_numpy(float) for name in COUNTS]
    if isinstance(model, Hybrid):
        columns = _hybrid(model, counts)
    elif isinstance(model, Linear):
        columns = _linear(model, counts)
    else:
        columns = _roofline(model, counts)
    return {path: np.atleast_2d(values.T).T for path, values in columns.items()}


def coefficients_of(model: Fitted) -> dict[str, Floats]:
    """Path -> its one or more coefficients in milliseconds."""
    paths = design(model, steps_frame(()))
    return {path: np.atleast_1d(np.asarray(get_coefficient(model, path), float)) for path in paths}


def with_coefficients(model: M, values: Mapping[str, Floats]) -> M:
    """The model with some of its coefficients replaced, by path, with six digits as files hold."""
    for path, new in values.items():
        model = set_coefficient(model, path, np.array([six_digits(value) for value in new]))
    return model


def six_digits(value: float) -> float:
    """A coefficient as files hold it."""
    return float(f"{value:.6g}")


def _hybrid(model: Hybrid, counts: list[Floats]) -> Columns:
    tokens, chunks, context, pairs, seqs, kv = counts
    n, knots, one = tokens + seqs, model.tokens.n, np.ones_like(tokens)
    curve = _hats(n, knots)
    curve[:, -1] *= np.maximum(1.0, n / knots[-1])
    decode = _hats(seqs, model.decode_attention.batch) * (seqs > 0)[:, None]
    columns = {
        "tokens.ms": curve,
        "head.const_ms": one,
        "head.per_seq_ms": seqs + chunks,
        "overhead.const_ms": one,
        "overhead.per_seq_ms": seqs,
        "decode_attention.const_ms": decode,
        "decode_attention.per_kv_token_ms": decode * kv[:, None],
        "prefill_attention.const_ms": (seqs == 0).astype(float),
        "prefill_attention.per_chunk_ms": chunks,
        "prefill_attention.per_token_ms": tokens,
        "prefill_attention.per_token2_ms": pairs,
        "prefill_attention.per_context_token_ms": context,
    }
    return {path: model.whole_iteration_factor * values for path, values in columns.items()}


def _hats(x: Floats, grid: tuple[int, ...]) -> Floats:
    """Weight of each point of a grid in the linear interpolation at ``x``; constant outside."""
    return np.stack([np.interp(x, grid, row) for row in np.eye(len(grid))], axis=1)


def _linear(model: Linear, counts: list[Floats]) -> Columns:
    if model.prefill_quadratic_to is not None or model.large_batch is not None:
        raise ValueError("only a linear model of one line each is taken over sums of chunks")
    tokens, chunks, _, pairs, seqs, kv = counts
    line = model.decode
    decode = line.const_ms + line.per_seq_ms * seqs + line.per_kv_token_ms * kv
    on = ((seqs > 0) & ((chunks == 0) | (decode >= model.prefill_ms))).astype(float)
    return {
        "prefill_ms": 1 - on,
        "prefill_per_token_ms": tokens,
        "prefill_per_token2_ms": 2 * pairs,
        "decode.const_ms": on,
        "decode.per_seq_ms": on * seqs,
        "decode.per_kv_token_ms": on * kv,
    }


def _roofline(model: Roofline, counts: list[Floats]) -> Columns:
    tokens, chunks, _, pairs, seqs, kv = counts
    n, decodes = tokens + seqs, (seqs > 0).astype(float)
    memory = model.memory.const_ms + model.memory.per_token_ms * n
    compute = model.compute.const_ms + model.compute.per_token_ms * n
    by_compute = (compute > memory).astype(float)
    return {
        "memory.const_ms": 1 - by_compute,
        "memory.per_token_ms": (1 - by_compute) * n,
        "compute.const_ms": by_compute,
        "compute.per_token_ms": by_compute * n,
        "decode_ms": decodes,
        "decode_per_seq_ms": seqs,
        "decode_per_kv_token_ms": kv,
        "prefill_ms": 1 - decodes,
        "prefill_per_chunk_ms": chunks,
        "prefill_per_token2_ms": pairs,
        "overhead.const_ms": np.ones_like(n),
        "overhead.per_seq_ms": seqs,
    }
