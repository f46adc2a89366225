"""Fits of the forms: ``hybrid`` with its knots; ``roofline`` and ``linear``, a maximum in them.

Given which side of the maximum counts for each row, both are linear; the rows' sides and the
coefficients are found in turn, from several first guesses, and the best result is kept.
"""

from dataclasses import replace
from typing import TypeVar

import numpy as np
import pandas as pd

from bros_sim.calibration.fit_design import (
    Fitted,
    coefficients_of,
    predict_s,
    row_weights,
    solved,
    with_coefficients,
)
from bros_sim.calibration.step_rows import Floats, kinds_of
from bros_sim.latency.parameters import (
    DecodeAttention,
    DecodeLine,
    Hybrid,
    Line,
    Linear,
    PrefillAttention,
    Roofline,
)
from bros_sim.latency.term_parameters import FREE, PerSequence, Sizes, TokenCurve, Validity
from bros_sim.latency.terms import MS

KNOTS = (
    *(1, 16, 32, 64, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1024, 1280, 1536, 2048),
    *(2560, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768),
)
"""Candidates for the knots of the token curve: where tiles of GEMM kernels start to be full."""
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
LEAST_ROWS = 3  # rows that a knot needs around it to be one
FOLDS = 3
CONST, SLOPE = "decode_attention.const_ms", "decode_attention.per_kv_token_ms"
M = TypeVar("M", Linear, Roofline)

NO_ROOFLINE = Roofline(Line(0.0, 0.0), Line(0.0, 0.0), *(0.0,) * 6, FREE)
RIDGES = (32, 64, 128, 256, 512, 1024, 2048)  # tokens where compute may overtake memory
PREFILL_FLOORS = (0.0, 0.5, 1.0)
"""First guesses of the prefill constant of ``linear``, as a share of the shortest prefill."""
ROUNDS = 40


def fit_hybrid(steps: pd.DataFrame, validity: Validity, head: PerSequence | None = None) -> Hybrid:
    """The hybrid model of least relative error on these rows, kinds weighted alike.

    The token curve never falls and no coefficient is negative. Without a given head its cost for
    each sequence is fitted and its constant is in the token curve, as is the engine's. Decode
    attention is a line of KV for each batch size, or one line for all where that predicts rows
    left out of the fit as well (three folds).
    """
    seqs = steps.loc[steps["decode_jobs"] > 0, "decode_jobs"].to_numpy(float)
    knots, batches = knots_of(steps), _supported(seqs, BATCHES) if seqs.size else (1,)
    one_line = len(batches) > 2 and not _per_batch_pays(steps, knots, batches, head)
    if one_line:
        batches = (batches[0], batches[-1])
    return _solved(steps, _empty(knots, batches, validity, head), head is None, one_line)


def _empty(knots: Sizes, batches: Sizes, validity: Validity, head: PerSequence | None) -> Hybrid:
    """A model with these knots and head whose other terms cost nothing."""
    none = (0.0,) * len(batches)
    return Hybrid(
        tokens=TokenCurve(knots, (0.0,) * len(knots)),
        decode_attention=DecodeAttention(batches, none, none),
        prefill_attention=PrefillAttention(),
        head=head or FREE,
        overhead=FREE,
        validity=validity,
    )


def knots_of(steps: pd.DataFrame) -> tuple[int, ...]:
    """Ends of the rows' tokens and the candidates between them that rows lie around."""
    n = (steps["prefill_tokens"] + steps["decode_jobs"]).to_numpy(float)
    return _supported(n, KNOTS)


def _supported(values: Floats, candidates: tuple[int, ...]) -> tuple[int, ...]:
    first, last = int(values.min()), int(values.max())
    chosen = [first]
    for value in candidates:
        between = (values > chosen[-1]) & (values <= value)
        if first < value < last and between.sum() >= LEAST_ROWS <= (values > value).sum():
            chosen.append(value)
    return (*chosen, last) if last > first else (first,)


def _per_batch_pays(
    steps: pd.DataFrame, knots: Sizes, batches: Sizes, head: PerSequence | None
) -> bool:
    """Whether one line per batch size predicts left-out rows better than one line for all."""
    fold = np.arange(len(steps)) % FOLDS
    grids = {True: (batches[0], batches[-1]), False: batches}
    errors = dict.fromkeys(grids, 0.0)
    for number in range(FOLDS):
        seen, left = steps[fold != number], steps[fold == number]
        left = left[kinds_of(left) != "prefill"]
        for one_line, grid in grids.items():
            empty = _empty(knots, grid, Validity(), head)
            model = _solved(seen, empty, head is None, one_line)
            errors[one_line] += float(np.abs(predict_s(model, left) / left["time_s"] - 1).sum())
    return errors[False] < errors[True]


def _solved(steps: pd.DataFrame, empty: Hybrid, head: bool, one_line: bool) -> Hybrid:
    """The fitted terms of a model; with ``head``, that of each sequence as well."""
    knots, batches = len(empty.tokens.n), len(empty.decode_attention.batch)
    bases = {
        "tokens.ms": _increments(knots),
        CONST: _increments(batches),
        SLOPE: np.ones((batches, 1)) if one_line else np.eye(batches),
        **{f"prefill_attention.{name}": np.eye(1) for name in vars(PrefillAttention())},
        **({"head.per_seq_ms": np.eye(1)} if head else {}),
    }
    found = solved(empty, steps, bases)
    # A constant that decode and pure prefill share is not distinct from one of the token curve.
    alone = found["prefill_attention.const_ms"]
    common = min(found[CONST].min(), alone[0])
    found |= {
        "tokens.ms": found["tokens.ms"] + common,
        CONST: found[CONST] - common,
        "prefill_attention.const_ms": alone - common,
    }
    return with_coefficients(empty, found)


def _increments(size: int) -> Floats:
    """Turns increments into values: what is fitted as increments >= 0 never falls."""
    return np.tril(np.ones((size, size)))


def fit_roofline(steps: pd.DataFrame, validity: Validity, overhead: PerSequence) -> Roofline:
    """The roofline of least relative error, kinds weighted alike; the overhead is given."""
    n = (steps["prefill_tokens"] + steps["decode_jobs"]).to_numpy(float)
    short, full = steps["time_s"].min() / MS, float((steps["time_s"] / n).min()) / MS
    guesses, given = [], replace(NO_ROOFLINE, overhead=overhead, validity=validity)
    for ridge in RIDGES:
        const = max(short, full * ridge)
        memory, compute = Line(const, 0.0), Line(0.0, const / ridge)
        guesses.append(replace(given, memory=memory, compute=compute))
    return _best(guesses, steps)


def fit_linear(steps: pd.DataFrame, validity: Validity) -> Linear:
    """The linear form with one decode line, of least relative error; engine time is inside."""
    prefill = steps.loc[steps["decode_jobs"] == 0, "time_s"]
    shortest = float(prefill.min() / MS) if len(prefill) else 0.0
    decode = DecodeLine(const_ms=float(steps["time_s"].min() / MS))
    floors = [share * shortest for share in PREFILL_FLOORS]
    return _best([Linear(floor, decode=decode, validity=validity) for floor in floors], steps)


def _best(guesses: list[M], steps: pd.DataFrame) -> M:
    ends = [_descended(guess, steps) for guess in guesses]
    return min(ends, key=lambda model: _loss(model, steps))


def _descended(model: M, steps: pd.DataFrame) -> M:
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
