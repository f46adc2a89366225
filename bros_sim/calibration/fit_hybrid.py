"""Fits the ``hybrid`` form: its knots, and the coefficients between them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bros_sim.calibration.fit_design import hybrid_columns, predict_s, six_digits
from bros_sim.calibration.fit_solve import row_weights, solve
from bros_sim.calibration.step_rows import kinds_of
from bros_sim.latency.parameters import DecodeAttention, Hybrid, PrefillAttention
from bros_sim.latency.term_parameters import FREE, PerSequence, TokenCurve, Validity
from bros_sim.latency.terms import MS

Floats = NDArray[np.float64]

KNOTS = (
    *(1, 16, 32, 64, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1024, 1280, 1536, 2048),
    *(2560, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768),
)
"""Candidates for the knots of the token curve: where tiles of GEMM kernels start to be full."""
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
LEAST_ROWS = 3
"""Rows that a knot needs around it to be one."""
FOLDS = 3


@dataclass(frozen=True)
class Given:
    """Parts of the time that are known from elsewhere and not fitted."""

    head: PerSequence | None = None
    overhead: PerSequence = FREE


def fit_hybrid(steps: pd.DataFrame, validity: Validity, given: Given = Given()) -> Hybrid:
    """The hybrid model of least relative error on these rows, kinds weighted alike.

    The token curve never falls and no coefficient is negative. Without a given head its cost for
    each sequence is fitted and its constant is in the token curve, as is the engine's. Decode
    attention is a line of KV for each batch size, or one line for all where that predicts rows
    left out of the fit as well (three folds).
    """
    knots, batches = knots_of(steps), batches_of(steps)
    if len(batches) > 2 and not _per_batch_pays(steps, knots, batches, given):
        batches = (batches[0], batches[-1])
        return _solved(steps, knots, batches, given, validity, one_line=True)
    return _solved(steps, knots, batches, given, validity)


def knots_of(steps: pd.DataFrame) -> tuple[int, ...]:
    """Ends of the rows' tokens and the candidates between them that rows lie around."""
    n = (steps["prefill_tokens"] + steps["decode_jobs"]).to_numpy(float)
    return _supported(n, KNOTS)


def batches_of(steps: pd.DataFrame) -> tuple[int, ...]:
    """Batch sizes of the decode grid: candidates that decode rows lie around."""
    seqs = steps["decode_jobs"].to_numpy(float)
    seqs = seqs[seqs > 0]
    return _supported(seqs, BATCHES) if seqs.size else (1,)


def _supported(values: Floats, candidates: tuple[int, ...]) -> tuple[int, ...]:
    first, last = int(values.min()), int(values.max())
    chosen = [first]
    for value in candidates:
        between = (values > chosen[-1]) & (values <= value)
        if first < value < last and between.sum() >= LEAST_ROWS <= (values > value).sum():
            chosen.append(value)
    return (*chosen, last) if last > first else (first,)


def _per_batch_pays(
    steps: pd.DataFrame, knots: tuple[int, ...], batches: tuple[int, ...], given: Given
) -> bool:
    """Whether one line per batch size predicts left-out rows better than one line for all."""
    fold = np.arange(len(steps)) % FOLDS
    ends = (batches[0], batches[-1])
    errors = {True: 0.0, False: 0.0}
    for number in range(FOLDS):
        seen, left = steps[fold != number], steps[fold == number]
        left = left[kinds_of(left) != "prefill"]
        for one_line in errors:
            grid = ends if one_line else batches
            model = _solved(seen, knots, grid, given, Validity(), one_line=one_line)
            errors[one_line] += float(np.abs(predict_s(model, left) / left["time_s"] - 1).sum())
    return errors[False] < errors[True]


def _solved(
    steps: pd.DataFrame,
    knots: tuple[int, ...],
    batches: tuple[int, ...],
    given: Given,
    validity: Validity,
    *,
    one_line: bool = False,
) -> Hybrid:
    columns = hybrid_columns(steps, knots, batches)
    target = steps["time_s"].to_numpy(float) / MS
    known = (
        given.overhead.const_ms + columns["overhead.per_seq_ms"][:, 0] * given.overhead.per_seq_ms
    )
    if given.head is not None:
        known = known + given.head.const_ms
        known = known + columns["head.per_seq_ms"][:, 0] * given.head.per_seq_ms
    blocks = {
        "curve": columns["tokens.ms"] @ _increments(len(knots)),
        "const": columns["decode_attention.const_ms"],
        "slope": columns["decode_attention.per_kv_token_ms"],
        "prefill": np.hstack([v for k, v in columns.items() if k.startswith("prefill_attention")]),
    }
    if one_line:
        blocks["const"] = blocks["const"] @ _increments(len(batches))
        blocks["slope"] = blocks["slope"].sum(axis=1, keepdims=True)
    if given.head is None:
        blocks["head"] = columns["head.per_seq_ms"]
    values = solve(np.hstack(list(blocks.values())), target, row_weights(steps), known)
    ends = np.cumsum([block.shape[1] for block in blocks.values()])
    found = dict(zip(blocks, np.split(values, ends[:-1]), strict=True))
    return _model(found, knots, batches, given, validity, one_line=one_line)


def _model(
    found: dict[str, Floats],
    knots: tuple[int, ...],
    batches: tuple[int, ...],
    given: Given,
    validity: Validity,
    *,
    one_line: bool,
) -> Hybrid:
    const, slope = found["const"], found["slope"]
    if one_line:
        const, slope = _increments(len(batches)) @ const, np.repeat(slope, len(batches))
    prefill = found["prefill"]
    # A constant that decode and pure prefill share is not distinct from one of the token curve.
    common = min(const.min(), prefill[0])
    const, prefill = const - common, prefill - common * (np.arange(prefill.size) == 0)
    head = given.head or PerSequence(0.0, _rounded(found["head"])[0])
    curve = _increments(len(knots)) @ found["curve"] + common
    return Hybrid(
        tokens=TokenCurve(knots, _rounded(curve)),
        decode_attention=DecodeAttention(batches, _rounded(const), _rounded(slope)),
        prefill_attention=PrefillAttention(*_rounded(prefill)),
        head=head,
        overhead=given.overhead,
        validity=validity,
    )


def _increments(size: int) -> Floats:
    """Turns increments into values: what is fitted as increments >= 0 never falls."""
    return np.tril(np.ones((size, size)))


def _rounded(values: Floats) -> tuple[float, ...]:
    return tuple(map(six_digits, values))
