"""Orca (Yu et al., OSDI'22): iteration-level batching, with memory reserved for a request's life.

Its Algorithm 1: requests by arrival; all that run go on, a new one joins with its whole prompt if
the batch has fewer than ``max_bs`` members and its ``max_tokens`` slots are free, else nobody
behind it joins either. What is reserved is never lacking, so nobody is preempted.

Exact: the selection, with one worker (no pipeline). Memory is what the KV manager `reserved` says:
prompt and ``max_tokens`` of output, less the last token, in blocks. Orca's own K/V slots are
single tokens (``block_size: 1``), and its ``max_tokens`` is one number for prompt and output. The
`orca` scheduler of Sarathi-Serve's repository reserves the model length for everybody.
"""

import sys
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_doc import Doc
from annotated_types import Ge

from bros_sim.core.world import World
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.ordered.scheduler import OrderedLoop
from bros_sim.schedulers.ordered.step import Step
from bros_sim.schedulers.parameters import SchedulerParameters
from bros_sim.schedulers.queues import Rank


@dataclass(frozen=True)
class OrcaParameters(SchedulerParameters):
    """Orca: FCFS, whole prompts beside decodes, memory reserved for life, no preemption."""

    needs_reserving_kv: ClassVar[bool] = True

    max_num_seqs: Annotated[int, Ge(1), Doc("most requests of an iteration (Orca's max_bs)")] = 256

    @property
    def mirrors(self) -> str:
        return "Orca (OSDI'22), Algorithm 1 with one worker"

    def make(self, world: World) -> "OrcaScheduler":
        return OrcaScheduler(self)


class OrcaScheduler(OrderedLoop):
    """The loop in order of arrival, whole prompts only."""

    caches_prefixes: ClassVar[bool] = False

    def __init__(self, parameters: OrcaParameters) -> None:
        super().__init__()
        self.max_num_seqs = parameters.max_num_seqs

    @property
    def token_limit(self) -> int:
        """None: no prompt is ever cut."""
        return sys.maxsize

    def rank(self, seq: SequenceView, now: float) -> Rank:
        """By arrival alone."""
        return ()

    def has_seat(self, seq: SequenceView, step: Step) -> bool:
        """Whether the batch has room."""
        return sum(step.running) < self.max_num_seqs
