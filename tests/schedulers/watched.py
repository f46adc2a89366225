"""What each iteration of a small scripted run computes, to compare with plans written by hand."""

import dataclasses
from typing import Any

from scripted import BE, RT, column
from simulations import make_replica, make_request, run

from bros_sim.core.request import Request
from bros_sim.engine.engine import Engine
from bros_sim.engine.sequence import Sequence
from bros_sim.kv.paged import PagedKV
from bros_sim.kv.parameters import PagedParameters

__all__ = ["BE", "RT", "ask", "column", "watch"]


class Watched(Engine):
    """Writes down who computes how many tokens, iteration by iteration."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self.seen: list[dict[int, int]] = []

    def begin(self, t: float) -> list[Sequence]:
        refused = super().begin(t)
        if self.plan is not None:
            computed = {seq.id: 1 for seq in self.batch if seq.decoding}
            computed |= {seq.id: tokens for seq, tokens in self.plan.chunks}
            self.seen.append(dict(sorted(computed.items())))
        return refused


def watch(scheduler: Any, requests: list[Request], *, blocks: int = 1000, **parts: Any):
    """Tokens by request of every iteration, and the tables; ``blocks`` of 16 tokens."""
    kv = PagedKV(PagedParameters(num_gpu_blocks=blocks + 1, enable_prefix_caching=False))
    parts = {"longest_stretch": 1} | parts
    replica = make_replica(kind=Watched, scheduler=scheduler, kv=kv, **parts)
    table = run(requests, replica)
    assert (table.requests["status"] == "completed").all()
    return replica.seen, table


def ask(index: int, prompt: int, output: int, at: float = 0.0, *, stream: str = "a", **more: Any):
    """A request."""
    request = make_request(index, prompt=prompt, output=output, arrival_s=at, **more)
    return dataclasses.replace(request, stream=stream)
