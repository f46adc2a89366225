"""Latency models over a steps frame, least squares on relative error, and its covariance.

Every model is linear in its coefficients, piecewise: ``design(model, steps) @ coefficients(model)``
is what the model's ``step_s`` says, in milliseconds. For ``linear`` and ``roofline`` the pieces are
the sides of a maximum, and the design is that of the side that counts at the model's own
coefficients: it is then also the Jacobian.
"""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import pandas as pd
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from bros_sim.calibration.step_rows import Floats, kinds_of, steps_frame
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
RIDGE = 1e-5
"""Weight, relative to a column's own, that decides what rows leave open: the smaller numbers."""
ROUNDS = 2
MOST_OFF = 2.0  # a first fit that is off by more is not what errors are relative to
MOST_LEVERAGE = 0.9
MOST_FACTORS = 16
KEPT_VARIANCE = 0.99
"""Share of the predictions' variance that the kept factors explain, unless there are the most."""


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


def row_weights(steps: pd.DataFrame) -> Floats:
    """Weight of each row: by its count, and the kinds (prefill, decode, mixed) alike; mean 1."""
    kinds = kinds_of(steps)
    share = steps["count"] / steps["count"].groupby(kinds).transform("sum")
    return np.asarray((share / share.sum() * len(steps)).to_numpy(float))


def solved(model: Fitted, steps: pd.DataFrame, bases: Mapping[str, Floats]) -> dict[str, Floats]:
    """Coefficients of a model, by path, with the least weighted square of the relative error.

    ``bases``: path of what is fitted -> a matrix that makes its coefficients of unknowns >= 0; what
    has none stays as it is in ``model``. Kinds are weighted alike.
    """
    columns, values = design(model, steps), coefficients_of(model)
    known = [columns[path] @ values[path] for path in columns if path not in bases]
    blocks = [columns[path] @ basis for path, basis in bases.items()]
    target_ms = steps["time_s"].to_numpy(float) / MS
    found = _solve(np.hstack(blocks), target_ms, row_weights(steps), sum(known, 0 * target_ms))
    parts = np.split(found, np.cumsum([block.shape[1] for block in blocks])[:-1])
    return {path: basis @ part for (path, basis), part in zip(bases.items(), parts, strict=True)}


def _solve(columns: Floats, target_ms: Floats, weights: Floats, known_ms: Floats) -> Floats:
    """Unknowns >= 0 with the least weighted square of the relative error.

    Errors are relative to the fit itself, found in rounds that start from the measured times:
    relative to these, noise would favour fits that are too fast. ``known_ms`` is the part of each
    row that no coefficient has to explain. Where the rows do not determine a coefficient the
    smallest is taken.
    """
    reference, found = target_ms, np.zeros(columns.shape[1])
    for _ in range(ROUNDS):
        root = np.sqrt(weights) / reference
        found = _least_squares(root[:, None] * columns, root * (target_ms - known_ms))
        reference = np.maximum(columns @ found + known_ms, target_ms / MOST_OFF)
    return found


def _least_squares(rows: Floats, right: Floats) -> Floats:
    size = np.sqrt((rows**2).sum(axis=0))
    used = size > 0
    scaled = rows[:, used] / size[used]
    # A root of the normal equations has the same least squares and few rows.
    root = np.linalg.cholesky(scaled.T @ scaled + RIDGE**2 * np.eye(int(used.sum()))).T
    projected = solve_triangular(root, scaled.T @ right, trans="T")
    found = np.zeros(rows.shape[1])
    found[used] = nnls(root, projected, maxiter=100 * int(used.sum()))[0] / size[used]
    return found


def covariance_factors(
    model: Fitted, steps: pd.DataFrame, known: tuple[str, ...] = (), most: int = MOST_FACTORS
) -> tuple[Mapping[str, tuple[float, ...]], ...]:
    """The covariance of a model's coefficients given the rows it was fitted on, as few factors.

    Gauss-Newton with the sandwich estimator (HC3): rows count by what their residual would
    be without them, so that neither equal variance nor the weights of the fit need be right.
    Coefficients at zero are on the edge of what is allowed and taken as sure, like those in
    ``known``. Of all directions those (at most ``most``) are kept that move the predictions
    most, each row's measured by its own spread, and stretched so that the mean variance of these
    stays what it is. Factors are in ms, as ``Uncertainty`` holds them, rounded to 3 digits.
    """
    columns, values = design(model, steps), coefficients_of(model)
    parts = [
        (values[path] > 0) & (np.abs(columns[path]) > 0).any(axis=0) & (path not in known)
        for path in values
    ]
    free = np.concatenate(parts)  # the coefficients that the rows say something about
    target = steps["time_s"].to_numpy(float) / MS
    jacobian = np.hstack(list(columns.values())) / target[:, None]
    error = jacobian @ np.concatenate(list(values.values())) - 1
    spread = _sandwich(jacobian[:, free], error, row_weights(steps))
    root = np.zeros((free.size, spread.shape[1]))
    root[free] = spread
    moves = jacobian @ root
    moves = moves / np.maximum(np.linalg.norm(moves, axis=1, keepdims=True), 1e-300)
    variances, directions = np.linalg.eigh(moves.T @ moves)
    kept, share = _kept(variances[::-1], most)
    factors = root @ directions[:, ::-1][:, :kept] / np.sqrt(share)
    return tuple(_named(factor, values) for factor in factors.T)


def _sandwich(rows: Floats, error: Floats, weights: Floats) -> Floats:
    """A root R of the covariance, which is R R'."""
    size = np.sqrt((rows**2).sum(axis=0))
    scaled = rows / size
    bread = np.linalg.pinv(scaled.T @ (weights[:, None] * scaled), rcond=1e-9, hermitian=True)
    leverage = weights * np.einsum("ri,ij,rj->r", scaled, bread, scaled, optimize=True)
    alone = error / (1 - np.clip(leverage, 0.0, MOST_LEVERAGE))
    filling = scaled * (weights * alone)[:, None]
    variances, directions = np.linalg.eigh(filling.T @ filling)
    root = directions * np.sqrt(np.maximum(variances, 0.0))
    return np.asarray((bread @ root) / size[:, None])


def _kept(variances: Floats, most: int) -> tuple[int, float]:
    """How many of the directions are kept, largest first, and their share of the variance."""
    total = float(np.maximum(variances, 0.0).sum())
    if total == 0:
        return 0, 1.0
    shares = np.cumsum(np.maximum(variances, 0.0)) / total
    kept = min(most, 1 + int(np.searchsorted(shares, KEPT_VARIANCE)))
    return kept, float(shares[kept - 1])


def _named(direction: Floats, values: Mapping[str, Floats]) -> dict[str, tuple[float, ...]]:
    ends = np.cumsum([value.size for value in values.values()])
    parts = np.split(direction, ends[:-1])
    return {
        path: tuple(float(f"{number:.3g}") for number in part)
        for path, part in zip(values, parts, strict=True)
        if np.abs(part).max() > 0
    }
