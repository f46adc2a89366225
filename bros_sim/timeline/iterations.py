"""From stretches back to iterations: the stored steps join what was alike, a reader wants each one.

The latency model times a stretch of decodes again. It is shown so only if it ends at the very
instant that was stored: a slice is either exact or says what it stands for.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bros_sim.core.clock import on_grid
from bros_sim.engine.latency_model import StepShape
from bros_sim.engine.link_parameters import HostLink
from bros_sim.engine.step_clock import StepClock
from bros_sim.experiment.build import latency_parameters, noise_of, profile_of
from bros_sim.experiment.schema import PointSpec
from bros_sim.experiment.truth import truth_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Timing:
    """What the iterations and copies of a point take: a clock for each replica, and the link."""

    clocks: Sequence[StepClock]
    link: HostLink | None
    token_bytes: int

    def copy_s(self, column: str, tokens: int) -> float | None:
        """Seconds that one iteration's tokens_to_cpu or tokens_to_gpu take; None without a link."""
        if self.link is None:
            return None
        cost = self.link.to_cpu_s if column == "tokens_to_cpu" else self.link.to_gpu_s
        return on_grid(cost(tokens * self.token_bytes))


def timing_of(spec: PointSpec) -> Timing:
    """Of a resolved point; `InputError` or `OSError` if its profile or component is missing."""
    profile, truth = profile_of(spec), truth_of(spec.latency)
    model = latency_parameters(truth.model, profile).make()
    share = spec.system.scheduler.overhead_share
    clocks = [
        StepClock(model, share, noise_of(truth, profile, spec.seed, replica))
        for replica in range(spec.cluster.replicas)
    ]
    return Timing(clocks, profile.host, profile.kv_bytes_per_token)


def iterations(steps: pd.DataFrame, timing: Timing | None) -> pd.DataFrame:
    """Every iteration: step (row), nth, start, end; a ``count`` > 1 cannot be timed again."""
    repeat = steps["repeat"].to_numpy(np.int64)
    first = steps.groupby("replica")["repeat"].cumsum().to_numpy(np.int64) - repeat
    ends = [np.array([end]) for end in steps["end_s"].to_numpy(np.float64)]
    columns = ["replica", "start_s", "decode_jobs", "kv_tokens"]
    rows = list(steps[columns].itertuples(index=False, name=None))
    for row in np.flatnonzero((repeat > 1) & (steps["prefill_tokens"] == 0).to_numpy(np.bool_)):
        replica, start_s, decodes, kv_tokens = rows[row]
        if timing is None:
            break
        shape, clock = StepShape((), int(decodes), int(kv_tokens)), timing.clocks[int(replica)]
        again = start_s + clock.ends_s(shape, int(first[row]), int(repeat[row]))
        if again[-1] == ends[row][-1]:
            ends[row] = again
    return _laid_out(steps["start_s"].to_numpy(np.float64), repeat, ends)


def _laid_out(start_s: Floats, repeat: NDArray[np.int64], ends: Sequence[Floats]) -> pd.DataFrame:
    sizes = np.array([len(of_row) for of_row in ends], np.int64)
    step = np.repeat(np.arange(sizes.size), sizes)
    nth = np.arange(step.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    end_s = np.concatenate([np.empty(0), *ends])
    before = np.append(0.0, end_s[:-1])
    return pd.DataFrame({
        "step": step, "nth": nth, "start_s": np.where(nth == 0, start_s[step], before[: step.size]),
        "end_s": end_s, "count": np.where(sizes == 1, repeat, 1)[step],
    })  # fmt: skip
