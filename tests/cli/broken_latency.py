"""A latency model of a user's own that fails on every iteration."""

from dataclasses import dataclass

from bros_sim.latency.term_parameters import LatencyParameters


class BrokenModel:
    reads_longest_kv = False

    def step_s(self, shape):
        return 1 / (shape.kv_tokens - shape.kv_tokens)

    def decode_s(self, shape, repeat):
        raise NotImplementedError

    def extrapolates(self, shape):
        return False


@dataclass(frozen=True)
class Broken(LatencyParameters):
    prefill_ms: float = 0.0

    def make(self):
        return BrokenModel()
