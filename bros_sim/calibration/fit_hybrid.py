"""Fits the ``hybrid`` form: its knots, and the coefficients between them."""

import numpy as np
import pandas as pd

from bros_sim.calibration.fit_design import predict_s, with_coefficients
from bros_sim.calibration.fit_solve import solved
from bros_sim.calibration.step_rows import Floats, kinds_of
from bros_sim.latency.parameters import DecodeAttention, Hybrid, PrefillAttention
from bros_sim.latency.term_parameters import FREE, PerSequence, TokenCurve, Validity

KNOTS = (
    *(1, 16, 32, 64, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1024, 1280, 1536, 2048),
    *(2560, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768),
)
"""Candidates for the knots of the token curve: where tiles of GEMM kernels start to be full."""
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
LEAST_ROWS = 3  # rows that a knot needs around it to be one
FOLDS = 3
CONST, SLOPE = "decode_attention.const_ms", "decode_attention.per_kv_token_ms"


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


def _empty(
    knots: tuple[int, ...], batches: tuple[int, ...], validity: Validity, head: PerSequence | None
) -> Hybrid:
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
    steps: pd.DataFrame,
    knots: tuple[int, ...],
    batches: tuple[int, ...],
    head: PerSequence | None,
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
        CONST: _increments(batches) if one_line else np.eye(batches),
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
