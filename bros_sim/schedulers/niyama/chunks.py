"""Niyama's chunk sizes, and how fast it believes prompts to go (sarathi-serve 72339db)."""

from bisect import bisect_right
from dataclasses import dataclass

from bros_sim.engine.latency_model import StepShape
from bros_sim.engine.scheduler import ReplicaView

GRID: tuple[int, ...] = (128, *range(256, 2049, 256), 2552)
"""Tokens that an iteration may have, decodes included."""
LOW_MEMORY_GRID: tuple[int, ...] = (128, 256, 384, 512)
LOW_MEMORY_TOKENS = 32_000
"""With fewer tokens' worth of free KV blocks the smaller grid holds."""
DECAY = 0.995
"""Weight of the past in the moving average of prompt throughput."""


def largest_chunk(
    view: ReplicaView, *, limit: int, context: int, slack_s: float, safety: float
) -> int:
    """The most tokens of the grid whose predicted time, times ``safety``, is within the slack.

    The smallest if none is. ``context``: tokens in the cache of the prompt that comes first.
    """
    low = view.kv.free_blocks * view.kv.block_size < LOW_MEMORY_TOKENS
    grid = [size for size in (LOW_MEMORY_GRID if low else GRID) if size <= limit] or [limit]
    decodes, kv_tokens = view.num_decodes, sum(view.decode_kv_by_class)

    def seconds(total: int) -> float:
        prompt = ((total - decodes, context),) if total > decodes else ()
        return safety * view.estimate.step_s(StepShape(prompt, decodes, kv_tokens))

    return grid[max(bisect_right(grid, slack_s, key=seconds) - 1, 0)]


@dataclass
class PromptThroughput:
    """A moving average over the iterations that computed prompts."""

    tokens_s: float = 0.0
    """Tokens per second; 0 before the first plan."""
    _planned_s: float = 0.0
    _tokens: int = 0

    def learn(self, view: ReplicaView, limit: int) -> None:
        """See how long the last iteration took; at first, what a full one would."""
        if not self.tokens_s:
            self.tokens_s = limit / view.estimate.step_s(StepShape(((limit, 0),), 0, 0))
        elif self._tokens:
            seen = self._tokens / (view.now - self._planned_s)
            self.tokens_s = DECAY * self.tokens_s + (1 - DECAY) * seen

    def planned(self, now: float, tokens: int) -> None:
        """An iteration with so many prompt tokens begins."""
        self._planned_s, self._tokens = now, tokens
