"""Random iterations within a range of validity, reproducible by seed."""

import numpy as np
import pandas as pd

from bros_sim.calibration.step_rows import step_row, steps_frame
from bros_sim.engine.latency_model import StepShape
from bros_sim.latency.term_parameters import LatencyParameters, Validity

LONGEST_KV = 8192


def sample_shapes(validity: Validity, count: int, seed: int) -> list[StepShape]:
    """A third each decode, prefill, mixed; log-uniform sizes, to 8192 tokens and 256 requests."""
    rng = np.random.default_rng(seed)
    kinds = ("decode", "prefill", "mixed")
    return [_shape(validity, kinds[n % 3], rng) for n in range(count)]


def sample_steps(
    model: LatencyParameters, validity: Validity, count: int, seed: int
) -> pd.DataFrame:
    """Random iterations with the times that the model itself gives them."""
    shapes, running = sample_shapes(validity, count, seed), model.make()
    return steps_frame(step_row(shape, running.step_s(shape), 1) for shape in shapes)


def _shape(validity: Validity, kind: str, rng: np.random.Generator) -> StepShape:
    most = validity.max_decode_jobs or 256
    longest = min(LONGEST_KV, validity.max_kv_tokens_per_job or LONGEST_KV)
    tokens = validity.max_tokens or 8192
    seqs = 0 if kind == "prefill" else _log(rng, 1, most)
    kv = seqs * _log(rng, 16, longest) if seqs else 0
    kv = max(seqs, min(kv, validity.max_kv_tokens or kv))
    if kind == "decode":
        return StepShape((), seqs, kv)
    room = min(validity.max_chunk_tokens or tokens, tokens - seqs)
    room //= 1 if kind == "prefill" else 2
    chunk = _log(rng, 16, room)
    context = int(rng.choice([0, _log(rng, 16, validity.max_context_tokens or tokens)]))
    return StepShape(((chunk, context),), seqs, kv)


def _log(rng: np.random.Generator, low: int, high: int) -> int:
    return int(np.exp(rng.uniform(np.log(low), np.log(high + 1))))
