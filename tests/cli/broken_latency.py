"""A latency model of a user's own that fails on every iteration."""

from dataclasses import dataclass

from bros_sim.latency.linear import Linear


@dataclass(frozen=True)
class Broken(Linear):
    def step_s(self, shape):
        return 1 / (shape.kv_tokens - shape.kv_tokens)
