"""Fits of the forms with a maximum in them, ``roofline`` and ``linear``.

Given which side of the maximum counts for each row, both are linear; the rows' sides and the
coefficients are found in turn, from several first guesses, and the best result is kept.
"""

from typing import TypeVar

import numpy as np
import pandas as pd

from bros_sim.calibration.fit_design import Fitted, coefficients_of, predict_s, with_coefficients
from bros_sim.calibration.fit_solve import row_weights, solved
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
        const = max(short, full * ridge)
        guesses.append(roofline(Line(const, 0.0), Line(0.0, const / ridge), overhead, validity))
    return _best(guesses, steps)


def fit_linear(steps: pd.DataFrame, validity: Validity) -> Linear:
    """The linear form with one decode line, of least relative error; engine time is inside."""
    prefill = steps.loc[steps["decode_jobs"] == 0, "time_s"]
    shortest = float(prefill.min() / MS) if len(prefill) else 0.0
    decode = DecodeLine(const_ms=float(steps["time_s"].min() / MS))
    floors = [share * shortest for share in PREFILL_FLOORS]
    return _best([Linear(floor, decode=decode, validity=validity) for floor in floors], steps)


def roofline(
    memory: Line,
    compute: Line,
    overhead: PerSequence,
    validity: Validity,
    kv_ms: float = 0.0,
    pair_ms: float = 0.0,
) -> Roofline:
    """A roofline of these lines, a time per KV token of decode and per token pair of prefill."""
    return Roofline(memory, compute, 0.0, 0.0, kv_ms, 0.0, 0.0, pair_ms, overhead, validity)


def _best(guesses: list[M], steps: pd.DataFrame) -> M:
    ends = [_descended(guess, steps) for guess in guesses]
    return min(ends, key=lambda model: _loss(model, steps))


def _descended(model: M, steps: pd.DataFrame) -> M:
    """Alternate between sides and coefficients while that lowers the loss."""
    free = [path for path in coefficients_of(model) if not path.startswith("overhead.")]
    bases = {path: np.eye(1) for path in free}
    best, least = model, np.inf
    for _ in range(ROUNDS):
        model = with_coefficients(model, solved(model, steps, bases))
        loss = _loss(model, steps)
        if loss >= least * (1 - 1e-9):
            break
        best, least = model, loss
    return best


def _loss(model: Fitted, steps: pd.DataFrame) -> float:
    error = predict_s(model, steps) / steps["time_s"].to_numpy(float) - 1
    return float(np.mean(row_weights(steps) * error**2))
