"""What YAML sets of BROS."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_doc import Doc

from bros_sim.core.world import World
from bros_sim.schedulers.bros.scheduler import BrosScheduler
from bros_sim.schedulers.parameters import Count, SchedulerParameters, Share


@dataclass(frozen=True)
class BrosParameters(SchedulerParameters):
    """BROS: RT by residual time, BE into what is left, whole prompts, no output prediction."""

    makes = BrosScheduler
    fidelity = "reconstructed"
    mirrors = "BROS (arXiv 2504.09590v1), reconstructed: docs/paper-map.md"

    batch_cap: Annotated[Count, Doc("batch cap to start from, and after a deadline bound")] = 128
    batch_cap_max: Annotated[Count, Doc("where the doubling of the cap ends")] = 1024
    cap_reset: Annotated[
        Literal["anyone", "rt"],
        Doc("whose being left out for a deadline starts the cap over: anyone's, or RT's alone"),
    ] = "anyone"
    replacement: Annotated[
        Literal["always", "rt_first"],
        Doc("when BE may take the place of RT with slack: always, or not while the cap bars RT"),
    ] = "always"
    smoothing: Annotated[
        Share, Doc("weight of the past in the moving average of iteration time")
    ] = 0.9
    late_policy: Annotated[
        Literal["serve_first", "demote"],
        Doc("RT that cannot be in time: in order of residual time, or after all that can"),
    ] = "serve_first"
    be_bound: Annotated[
        Literal["batch", "all_rt"],
        Doc("whose deadlines BE keep: of RT in the batch, or also of RT put off that can be saved"),
    ] = "batch"
    tpot_mode: Annotated[
        Literal["per_token", "cumulative"],
        Doc("next token due a TPOT after the last one, or TTFT + k TPOT after arrival"),
    ] = "per_token"
    watermark: Annotated[Share, Doc("share of all KV blocks that waiting BE leave free")] = 0.01
    shortage: Annotated[
        Literal["recompute", "swap"],
        Doc("what happens to the BE ranked last when another BE lacks memory"),
    ] = "recompute"
    victims: Annotated[
        Literal["be_only", "any_newest"],
        Doc("who is recomputed for RT where the KV manager cannot lend BE's blocks"),
    ] = "be_only"
    overhead_share: Annotated[Share, Doc("share of every iteration that scheduling takes")] = 0.08

    def conflicts(self, world: World) -> tuple[str, ...]:
        if self.batch_cap > self.batch_cap_max:
            return (f"batch_cap {self.batch_cap} is over batch_cap_max {self.batch_cap_max}",)
        return ()
