"""How long outputs have been: what an engine can know of a request's length before it ends."""

import math
from bisect import bisect_left, bisect_right, insort
from collections import deque
from dataclasses import dataclass, field


@dataclass
class LengthsSeen:
    """Upper bounds of output lengths, from the last ``memory`` finished requests of each client."""

    quantile: float
    memory: int = 1000
    _recent: dict[str, deque[int]] = field(init=False, default_factory=dict)
    _sorted: dict[str, list[int]] = field(init=False, default_factory=dict)

    def add(self, client: str, tokens: int) -> None:
        """A request of that client ended after so many output tokens."""
        recent = self._recent.setdefault(client, deque())
        ordered = self._sorted.setdefault(client, [])
        recent.append(tokens)
        insort(ordered, tokens)
        if len(recent) > self.memory:
            del ordered[bisect_left(ordered, recent.popleft())]

    def bound(self, client: str, generated: int, cap: int) -> int:
        """The quantile of the lengths above ``generated``; ``cap`` where none is, and never more.

        Given only requests that went on for longer, the bound is refined as a request goes on.
        """
        ordered = self._sorted.get(client, [])
        first = bisect_right(ordered, generated)
        longer = len(ordered) - first
        if not longer:
            return cap
        return min(cap, ordered[first + math.ceil(self.quantile * longer) - 1])
