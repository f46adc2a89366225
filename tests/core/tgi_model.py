"""TGI's batching loop written down as it is told: the brute force behind tests/core/test_tgi.py.

A blocking program, as the original: it runs forwards one after the other, each a second long, and
notes how many tokens every request computes in each. It shares no code with the simulator.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Asked:
    """A request; ``done`` prompt tokens, ``out`` generated ones, ``next`` tokens to compute."""

    number: int
    arrival: float
    prompt: int
    max_new: int
    output: int
    done: int = 0
    out: int = 0
    next: int = 0


@dataclass
class Tgi:
    """The router and its server, from empty to empty: `serve` runs it."""

    total: int
    block: int
    prefill: int
    chunking: bool
    ratio: float = 0.3
    most_waiting: int = 20
    batch_limit: int | None = None
    concurrent: int = 128
    longest_total: int | None = None
    now: float = 0.0
    forwards: list[dict[int, int]] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    _coming: deque[Asked] = field(default_factory=deque)
    _queue: deque[Asked] = field(default_factory=deque)
    _in_house: int = 0
    _free: int = 0

    def serve(self, requests: list[Asked]) -> None:
        self._coming = deque(requests)
        self._free = self.total // self.block - 1
        while self._coming or self._queue:
            if not self._queue:
                self.now = max(self.now, self._coming[0].arrival)
                self._arrive()
            self._busy_period()

    # -- the batching task ----------------------------------------------------------------------

    def _busy_period(self) -> None:
        while first := self._next_batch(None, self.batch_limit, self.prefill, self.total):
            cached = self._forward(first)
            waiting_tokens = 1
            while cached:
                blocks = sum(self._blocks(r) for r in cached)
                token_budget = max(self.total - blocks * self.block, 0)
                if self.chunking:
                    current = sum(r.next for r in cached)
                    limits = (None, None, max(self.prefill - current, 0))
                else:
                    size = np.floor(np.float32(len(cached)) * np.float32(self.ratio))
                    late = waiting_tokens >= self.most_waiting
                    limit = self.batch_limit
                    room = None if limit is None else max(limit - len(cached), 0)
                    limits = (None if late else int(size), room, self.prefill)
                if new := self._next_batch(*limits, token_budget):
                    if self.chunking:
                        cached = self._forward(cached + new)
                        if not cached:
                            break
                    else:
                        cached = cached + self._forward(new)
                    waiting_tokens = 1
                cached = self._forward(cached)
                waiting_tokens += 1

    # -- the queue ------------------------------------------------------------------------------

    def _next_batch(self, min_size, max_size, prefill_budget, token_budget):
        if prefill_budget == 0 or token_budget == 0 or not self._queue:
            return None
        if min_size is not None and len(self._queue) < min_size:
            return None
        if max_size == 0:
            return None
        batch = self._pop(int(np.ceil(prefill_budget / self.block)) * self.block, max_size)
        if not batch:
            return None
        if min_size is not None and len(batch) < min_size:
            for request in reversed(batch):
                self._free += self._blocks(request)
                self._queue.appendleft(request)
            return None
        return batch

    def _pop(self, prefill_budget, max_size):
        batch, prefill_tokens = [], 0
        while self._queue:
            head = self._queue.popleft()
            if self._blocks(head) > self._free:
                self._queue.appendleft(head)
                break
            if prefill_tokens + head.prompt > prefill_budget:
                chunk = prefill_budget - prefill_tokens
                if self.chunking and chunk > 0:
                    self._free -= self._blocks(head)
                    head.next = chunk
                    batch.append(head)
                else:
                    self._queue.appendleft(head)
                break
            self._free -= self._blocks(head)
            prefill_tokens += head.prompt
            head.next = head.prompt
            batch.append(head)
            if len(batch) == max_size:
                break
        return batch

    def _blocks(self, request: Asked) -> int:
        return int(np.ceil((request.prompt + request.max_new - 1) / self.block))

    # -- the server -----------------------------------------------------------------------------

    def _forward(self, batch: list[Asked]) -> list[Asked]:
        """Run one; who is left of the batch."""
        self.forwards.append({r.number: r.next for r in batch})
        self.now += 1
        self._arrive()
        for r in batch:
            if r.done < r.prompt:
                r.done += r.next
            if r.done == r.prompt:
                r.out += 1
        budget = self.prefill - (len(batch) - 1)
        for r in reversed(batch):
            remaining, r.next = r.prompt - r.done, 1
            if remaining > 0:
                r.next = max(min(remaining, budget), 1)
                budget -= r.next
        left = [r for r in batch if r.out < r.output]
        self._in_house -= len(batch) - len(left)
        self._free += sum(self._blocks(r) for r in batch if r not in left)
        return left

    def _arrive(self) -> None:
        """Whoever came by now, and was let in."""
        while self._coming and self._coming[0].arrival <= self.now:
            r = self._coming.popleft()
            too_long = self.longest_total is not None and r.prompt + r.max_new > self.longest_total
            if self._in_house >= self.concurrent or too_long:
                self.refused.append(r.number)
            else:
                self._in_house += 1
                self._queue.append(r)
