"""What best effort leaves in time: decodes that are promised, and prompts that are."""

import math
from bisect import bisect_right
from collections import abc
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from bros_sim.engine.latency_model import StepShape
from bros_sim.engine.scheduler import ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.ordered.step import Step


@dataclass(frozen=True)
class Pace:
    """How long the coming iteration may take, by the policy's own estimate."""

    view: ReplicaView
    bound_s: float
    """The tightest TPOT of the promised that decode; infinite if nobody does."""
    prompts: abc.Sequence[tuple[int, int]] = ()
    """What promised prompts lack, and what of them is computed."""
    slack_s: float = math.inf
    """Seconds until the first of them is due."""

    def late(self) -> tuple[float, float]:
        """Seconds of an iteration with the whole cohort, and the limit that they exceed or not."""
        decodes = self.view.num_decodes, sum(self.view.decode_kv_by_class)
        seconds = self._step_s((), *decodes) if decodes[0] else 0.0
        if seconds > self.bound_s or not self.prompts:
            return seconds, self.bound_s
        return self._step_s(self.prompts, *decodes), self.slack_s

    def too_many(self, givers: abc.Sequence[SequenceView]) -> abc.Sequence[SequenceView]:
        """The first of these cohort members without whom everything promised is in time."""
        seqs, kv_tokens = self.view.num_decodes, sum(self.view.decode_kv_by_class)
        freed = [0, *accumulate(seq.num_computed + 1 for seq in givers)]

        def in_time(gone: int) -> bool:
            decodes = seqs - gone, kv_tokens - freed[gone]
            return (not decodes[0] or self._step_s((), *decodes) <= self.bound_s) and (
                not self.prompts or self._step_s(self.prompts, *decodes) <= self.slack_s
            )

        return givers[: bisect_right(range(len(givers)), False, key=in_time)]

    def tokens_beside(self, step: Step, seq: SequenceView, tokens: int, limit_s: float) -> int:
        """How many of ``tokens`` it can compute within ``limit_s``, beside the step so far."""
        if math.isinf(limit_s):
            return tokens
        return bisect_right(range(1, tokens + 1), limit_s, key=lambda n: self.with_s(step, seq, n))

    def with_s(self, step: Step, seq: SequenceView, tokens: int) -> float:
        """Seconds of the step with so many of its tokens; its cached prefix counts as absent."""
        return self._so_far_s(step, [(tokens, seq.num_computed)])

    def so_far_s(self, step: Step) -> float:
        """Seconds of the step as it is."""
        return self._so_far_s(step, []) if step.decodes or step.chunks else 0.0

    def _so_far_s(self, step: Step, more: abc.Sequence[tuple[int, int]]) -> float:
        chunks = [(tokens, seq.num_computed) for seq, tokens in step.chunks]
        out = [*step.paused, *(gone.seq for gone in step.evictions if gone.seq.decoding)]
        kv_tokens = sum(self.view.decode_kv_by_class) - sum(x.num_computed + 1 for x in out)
        return self._step_s([*chunks, *more], step.decodes, kv_tokens)

    def prompt_rate(self, decodes: int, kv_tokens: int, limit: int) -> float:
        """Prompt tokens a second beside so many decodes, in iterations of at most ``limit``."""

        def seconds(tokens: int) -> float:
            return self._step_s([(tokens, 0)], decodes, kv_tokens)

        if not decodes:
            return limit / seconds(limit)
        room = range(1, limit - decodes + 1)
        tokens = bisect_right(room, self.bound_s, key=seconds)
        return tokens / seconds(tokens) if tokens else 0.0

    def _step_s(self, chunks: Iterable[tuple[int, int]], decodes: int, kv_tokens: int) -> float:
        """A chunk of one token is a decode to the engine's kernels."""
        single = [context + 1 for tokens, context in chunks if tokens == 1]
        prefill = tuple(chunk for chunk in chunks if chunk[0] > 1)
        shape = StepShape(prefill, decodes + len(single), kv_tokens + sum(single))
        return self.view.estimate.step_s(shape)
