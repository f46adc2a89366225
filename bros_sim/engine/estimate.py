"""What a policy believes an iteration to cost: never the truth that advances the clock."""

import math
import zlib
from dataclasses import dataclass
from statistics import NormalDist

from bros_sim.engine.latency_model import LatencyModel, StepShape
from bros_sim.engine.link_parameters import HostLink


@dataclass(eq=False)
class Estimate:
    """``max(t_exec, t_swap)`` of an iteration (BROS: t_iter), as the policy sees it.

    ``bias`` multiplies every estimate. ``noise`` is the standard deviation of the logarithm of a
    random factor that is a pure function of the iteration's shape and ``seed``: an estimate that is
    wrong in the same way each time, as a fitted model is.
    """

    model: LatencyModel
    link: HostLink | None = None
    token_bytes: int = 0
    overhead_share: float = 0.0
    bias: float = 1.0
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        self._scale = self.bias / (1.0 - self.overhead_share)

    def step_s(self, shape: StepShape, to_gpu_tokens: int = 0, to_cpu_tokens: int = 0) -> float:
        """Seconds of an iteration with that shape and those copies."""
        seconds = self._scale * self.model.step_s(shape)
        if self.link is not None and (to_gpu_tokens or to_cpu_tokens):
            back = self.link.to_gpu_s(to_gpu_tokens * self.token_bytes)
            out = self.link.to_cpu_s(to_cpu_tokens * self.token_bytes)
            seconds = max(seconds, self.bias * max(back, out))
        return seconds * self._error(shape) if self.noise else seconds

    def _error(self, shape: StepShape) -> float:
        chunks, seqs, kv, _ = shape
        text = f"({self.seed}, StepShape({chunks=}, decode_jobs={seqs}, kv_tokens={kv}))"
        draw = zlib.crc32(text.encode())
        return math.exp(self.noise * NormalDist().inv_cdf((draw + 0.5) / 2**32))
