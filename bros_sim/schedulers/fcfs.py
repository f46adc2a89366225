"""Two engines that serve by arrival alone: Orca and Sarathi-Serve.

Orca (Yu et al., OSDI'22): iteration-level batching, with memory reserved for a request's life.

Exact (Algorithm 1, one worker, no pipeline): requests by arrival; all that run go on, a new one
joins with its whole prompt if the batch has fewer than ``max_bs`` members and its ``max_tokens``
slots are free, else nobody behind it joins either. What is reserved is never lacking.
Memory is what the KV manager `reserved` says: prompt and ``max_tokens`` of output, less the last
token, in blocks. Orca's own K/V slots are single tokens (``block_size: 1``), and its ``max_tokens``
is one number for prompt and output. Sarathi-Serve's `orca` reserves the model length for everybody.

Sarathi-Serve (OSDI'24, arXiv 2403.02310): stall-free batching within a token budget.

Read in its repository (microsoft/sarathi-serve: sarathi_scheduler.py, base_block_space_manager.py,
config.py). Exact: an iteration computes at most ``chunk_size`` tokens:

1. Every running request whose prompt is done decodes one token, in order of arrival. Each must find
   a free block, whether or not it needs one; where there is none, the latest arrival of all running
   is recomputed: it waits at the head of the queue, its tokens as the prompt.
2. Prompts under way go on, in order of arrival, each with what is left of the budget.
3. Waiting requests join, FCFS, the head or nobody: it needs all blocks of its prompt (so decodes
   alone can lack memory), a hundredth of all blocks left free (``watermark``), a seat and a token.

Simplified: a request alone needs neither watermark nor a block that it does not use (the engine
would never admit the first, and preempt the second for ever). Where a hundredth of all blocks is
less than one, the engine could take back at once whom it preempted; here nobody joins then. Left
out: the dynamic schedule of chunk sizes (off by default), pipeline stages. No prefix cache.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

from annotated_doc import Doc

from bros_sim.core.world import World
from bros_sim.engine.scheduler import ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.ordered.policy import Step
from bros_sim.schedulers.ordered.scheduler import OrderedParameters, OrderedScheduler
from bros_sim.schedulers.parameters import Count, SchedulerParameters, Seats, Watermark, too_few


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


class SarathiScheduler(OrderedScheduler):
    """The loop in order of arrival, prompts under way first."""

    caches_prefixes = False
    finishes_prompts = True

    def __init__(self, parameters: "SarathiParameters") -> None:
        super().__init__(OrderedParameters(parameters.chunk_size, parameters.max_num_seqs))
        self.watermark = parameters.watermark

    def has_seat(self, seq: SequenceView, step: Step) -> bool:
        return sum(step.running) < self.max_num_seqs

    def spare_blocks(self, seq: SequenceView, step: Step) -> int:
        return int(self.watermark * step.view.kv.num_gpu_blocks)

    def leaves_too_little(self, step: Step) -> bool:
        """The last to decode took no block and there was none, though others run that give way."""
        kv, gone = step.view.kv, step.gone
        if kv.free_blocks or kv.reserves or sum(step.running) == 1 or not step.decodes:
            return False
        decoding = (seq for seq in step.view.batch if seq.decoding and seq.id not in gone)
        last = max(decoding, key=lambda seq: seq.id)
        return last.num_computed % kv.block_size > 0

    def lasts(self, view: ReplicaView) -> int:
        """Iterations in which everybody surely finds a free block."""
        kv = view.kv
        if kv.reserves or view.num_decodes == 0:
            return super().lasts(view)
        rounds = max(kv.free_blocks - 1, 0) // view.num_decodes
        return 1 + rounds * kv.block_size


@dataclass(frozen=True)
class SarathiParameters(SchedulerParameters):
    """Sarathi-Serve: decodes first, then prompts in chunks, within one token budget; FCFS."""

    makes = SarathiScheduler
    mirrors = "Sarathi-Serve (OSDI'24, arXiv 2403.02310), its repository's scheduler"

    chunk_size: Annotated[Count, Doc("token budget of an iteration")] = 512
    max_num_seqs: Seats = 128
    watermark: Watermark = 0.01

    def conflicts(self, world: World) -> tuple[str, ...]:
        return too_few("chunk_size", self.chunk_size, self.max_num_seqs)
