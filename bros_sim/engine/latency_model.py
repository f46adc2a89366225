"""Contract of the latency models: the shape of one iteration -> its duration in seconds."""

from bisect import bisect_left
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class StepShape(NamedTuple):
    """What one iteration of the engine computes.

    ``chunks`` holds ``(tokens, context)`` of every prefill chunk: tokens computed now, and tokens
    of that prompt already in the cache. ``decode_jobs`` requests compute one token each and attend
    together to ``kv_tokens`` tokens, their new ones included; what is read for several at once
    (`KVManager.spared_kv_tokens`) counts once. ``longest_kv`` is what the longest of them attends
    to, for models that read it; 0: not known. A shape computes at least one token.
    """

    chunks: tuple[tuple[int, int], ...]
    decode_jobs: int
    kv_tokens: int
    longest_kv: int = 0


class LatencyModel(Protocol):
    """What an iteration costs on one replica. Pure: the same shape always costs the same."""

    reads_longest_kv: bool
    """Whether the time of an iteration depends on ``longest_kv``."""

    def step_s(self, shape: StepShape) -> float:
        """Duration of the iteration in seconds."""

    def decode_s(self, shape: StepShape, repeat: int) -> NDArray[np.float64]:
        """Durations of ``repeat`` consecutive decode-only iterations, of which ``shape`` is first.

        From each to the next ``kv_tokens`` grows by ``decode_jobs``, and ``longest_kv``, if known,
        by one. Element i equals ``step_s`` of that iteration's shape bit for bit.
        """

    def extrapolates(self, shape: StepShape) -> bool:
        """Whether the shape lies outside the range the model was fitted on, which is convex."""


def count_extrapolated(model: LatencyModel, shape: StepShape, repeat: int) -> int:
    """How many of ``repeat`` like decode iterations from ``shape`` on lie outside the range.

    Their KV only grows and ranges are convex, so those outside come after those inside.
    """
    if repeat == 1:
        return int(model.extrapolates(shape))

    def outside(iteration: int) -> bool:
        kv_tokens = shape.kv_tokens + iteration * shape.decode_jobs
        return model.extrapolates(shape._replace(kv_tokens=kv_tokens))

    if not outside(repeat - 1):
        return 0
    return repeat - bisect_left(range(repeat), True, key=outside)
