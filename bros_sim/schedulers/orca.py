"""Orca (Yu et al., OSDI'22): iteration-level batching, with memory reserved for a request's life.

Exact (Algorithm 1, one worker, no pipeline): requests by arrival; all that run go on, a new one
joins with its whole prompt if the batch has fewer than ``max_bs`` members and its ``max_tokens``
slots are free, else nobody behind it joins either. What is reserved is never lacking.
Memory is what the KV manager `reserved` says: prompt and ``max_tokens`` of output, less the last
token, in blocks. Orca's own K/V slots are single tokens (``block_size: 1``), and its ``max_tokens``
is one number for prompt and output. Sarathi-Serve's `orca` reserves the model length for everybody.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

from annotated_doc import Doc

from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.ordered.policy import Step
from bros_sim.schedulers.ordered.scheduler import OrderedParameters, OrderedScheduler
from bros_sim.schedulers.parameters import Count, SchedulerParameters


class OrcaScheduler(OrderedScheduler):
    """The loop in order of arrival, whole prompts only: no budget ever cuts one."""

    caches_prefixes = False

    def __init__(self, parameters: "OrcaParameters") -> None:
        super().__init__(OrderedParameters(sys.maxsize, parameters.max_num_seqs))

    def has_seat(self, seq: SequenceView, step: Step) -> bool:
        return sum(step.running) < self.max_num_seqs


@dataclass(frozen=True)
class OrcaParameters(SchedulerParameters):
    """Orca: FCFS, whole prompts beside decodes, memory reserved for life, no preemption."""

    makes = OrcaScheduler
    mirrors = "Orca (OSDI'22), Algorithm 1 with one worker"
    needs_reserving_kv = True

    max_num_seqs: Annotated[Count, Doc("most requests of an iteration (Orca's max_bs)")] = 256
