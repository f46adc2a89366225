"""Fits of the forms with a maximum in them, ``roofline`` and ``linear``.

Given which side of the maximum counts for each row, both are linear; the rows' sides and the
coefficients are found in turn, from several first guesses, and the best result is kept.
"""

from typing import TypeVar

import numpy as np
import pandas as pd

from bros_sim.calibration.fit_design import (
    Fitted,
    coefficients_of,
    design,
    predict_s,
    six_digits,
    with_coefficients,
)
from bros_sim.calibration.fit_solve import Floats, row_weights, solve
from bros_sim.latency.parameters import DecodeLine, Line, Linear, Roofline
from bros_sim.latency.term_parameters import PerSequence, Validity
from bros_sim.latency.terms import MS

M = TypeVar("M", Linear, Roofline)

RIDGES = (32, 64, 128, 256, 512, 1024, 2048)
"""Tokens at which compute may first overtake memory: the first guesses."""
PREFILL_FLOORS = (0.0, 0.5, 1.0)
"""First guesses of the prefill constant of ``linear``, as a share of the shortest prefill."""
ROUNDS = 40


def fit_roofline(steps: pd.DataFrame, validity: Validity, overhead: PerSequence) -> Roofline:
    """The roofline of least relative error, kinds weighted alike; the overhead is given."""
    n = (steps["prefill_tokens"] + steps["decode_jobs"]).to_numpy(float)
    short, full = steps["time_s"].min() / MS, float((steps["time_s"] / n).min()) / MS
    guesses = []
    for ridge in RIDGES:
        memory = Line(max(short, full * ridge), 0.0)
        compute = Line(0.0, memory.const_ms / ridge)
        guesses.append(roofline(memory, compute, overhead, validity))
    return _best(guesses, steps, known=("overhead.const_ms", "overhead.per_seq_ms"))


def fit_linear(steps: pd.DataFrame, validity: Validity) -> Linear:
    """The linear form with one decode line, of least relative error; engine time is inside."""
    prefill = steps.loc[steps["decode_jobs"] == 0, "time_s"]
    shortest = float(prefill.min() / MS) if len(prefill) else 0.0
    decode = DecodeLine(const_ms=float(steps["time_s"].min() / MS))
    guesses = [
        Linear(share * shortest, decode=decode, validity=validity) for share in PREFILL_FLOORS
    ]
    return _best(guesses, steps, known=())


def roofline(
    memory: Line,
    compute: Line,
    overhead: PerSequence,
    validity: Validity,
    kv_ms: float = 0.0,
    pair_ms: float = 0.0,
) -> Roofline:
    """A roofline of these lines, a time per KV token of decode and per token pair of prefill."""
    return Roofline(
        memory,
        compute,
        decode_ms=0.0,
        decode_per_seq_ms=0.0,
        decode_per_kv_token_ms=kv_ms,
        prefill_ms=0.0,
        prefill_per_chunk_ms=0.0,
        prefill_per_token2_ms=pair_ms,
        overhead=overhead,
        validity=validity,
    )


def _best(guesses: list[M], steps: pd.DataFrame, known: tuple[str, ...]) -> M:
    ends = [_descended(guess, steps, known) for guess in guesses]
    return min(ends, key=lambda model: _loss(model, steps))


def _descended(model: M, steps: pd.DataFrame, known: tuple[str, ...]) -> M:
    """Alternate between sides and coefficients while that lowers the loss."""
    target, weights = steps["time_s"].to_numpy(float) / MS, row_weights(steps)
    best, least = model, np.inf
    for _ in range(ROUNDS):
        model = _solved(model, steps, target, weights, known)
        loss = _loss(model, steps)
        if loss >= least * (1 - 1e-9):
            break
        best, least = model, loss
    return best


def _solved(
    model: M, steps: pd.DataFrame, target: Floats, weights: Floats, known: tuple[str, ...]
) -> M:
    columns, values = design(model, steps), coefficients_of(model)
    fixed = sum((columns[path] @ values[path] for path in known), np.zeros(len(steps)))
    free = [path for path in columns if path not in known]
    found = solve(np.hstack([columns[path] for path in free]), target, weights, fixed)
    rounded = [np.array([six_digits(value)]) for value in found]
    changed: M = with_coefficients(model, dict(zip(free, rounded, strict=True)))
    return changed


def _loss(model: Fitted, steps: pd.DataFrame) -> float:
    error = predict_s(model, steps) / steps["time_s"].to_numpy(float) - 1
    return float(np.mean(row_weights(steps) * error**2))
