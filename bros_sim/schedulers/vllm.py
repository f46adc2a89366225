"""vLLM V1's scheduler (vllm/v1/core/sched/scheduler.py), decision by decision.

There is no prefill or decode phase: a request has ``num_tokens - num_computed`` tokens to compute,
and each iteration hands out a token budget, first to running requests in order of admission, then
to waiting ones. Compared with decision logs of the real scheduler by ``bros-sim conformance vllm``.
"""

import math
from collections import abc
from collections.abc import Iterable
from typing import TYPE_CHECKING

from bros_sim.engine.reasons import AFTER_PREEMPTION, BUDGET, MEMORY, SEATS, Note
from bros_sim.engine.scheduler import UNTIL_EVENT, Plan, ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.kv.pool import Block
from bros_sim.schedulers.queues import FcfsQueue, PriorityQueue, WaitingQueue

if TYPE_CHECKING:
    from bros_sim.schedulers.vllm_parameters import VllmParameters


class _Step:
    """The plan under construction."""

    def __init__(self, view: ReplicaView, budget: int, threshold: int, seats: int) -> None:
        self.kv = view.kv
        self.batch = view.batch
        self.budget = budget
        self.threshold = threshold
        self.seats = seats
        self.explain = view.explain
        self.running = len(view.batch)  # how many run, those admitted so far included
        self.chunks: list[tuple[SequenceView, int]] = []
        self.admitted: list[tuple[SequenceView, int]] = []
        self.evicted: list[SequenceView] = []
        self.paused: list[SequenceView] = []
        self.notes: list[Note] = []

    def note(
        self,
        seq: SequenceView,
        reason: str,
        value: float,
        limit: float,
        other: SequenceView | None = None,
    ) -> None:
        """Say why a request does not run, if anybody asks."""
        if self.explain:
            self.notes.append(Note(seq, reason, other, value, limit))

    def note_memory(
        self, seq: SequenceView, tokens: int, hit: abc.Sequence[object], spare: int
    ) -> None:
        """Its ``tokens`` need more free blocks than there are, cached ones or not."""
        if self.explain:
            shared = sum(isinstance(block, Block) and block.refs > 0 for block in hit)
            blocks = -(-tokens // self.kv.block_size) - shared + spare
            self.note(seq, MEMORY, blocks, self.kv.free_blocks)


class VllmScheduler:
    """One call of vLLM's ``schedule()`` an iteration."""

    def __init__(self, parameters: "VllmParameters") -> None:
        self.overhead_share = parameters.overhead_share
        self.policy = parameters.policy
        self.max_num_batched_tokens = parameters.max_num_batched_tokens
        self.max_num_seqs = parameters.max_num_seqs
        self.enable_chunked_prefill = parameters.enable_chunked_prefill
        self.long_prefill_token_threshold = parameters.long_prefill_token_threshold
        self.scheduler_reserve_full_isl = parameters.scheduler_reserve_full_isl
        self.watermark = parameters.watermark
        self.version = parameters.version
        self._waiting: WaitingQueue = PriorityQueue() if self.policy == "priority" else FcfsQueue()

    def set_true_length(self, seq: SequenceView, output_tokens: int) -> None:
        pass

    def submit(self, seq: SequenceView) -> None:
        self._waiting.push(seq)

    def finished(self, seq: SequenceView) -> None:
        pass

    def waiting_seqs(self) -> Iterable[SequenceView]:
        return iter(self._waiting)

    def plan(self, view: ReplicaView) -> Plan:
        # Since 0.33.0 a lone request has nobody to give way to.
        lone = len(view.batch) + len(self._waiting) <= 1 and self.version == "0.33.0"
        threshold = 0 if lone else self.long_prefill_token_threshold
        seats = self.max_num_seqs - view.held_seats
        step = _Step(view, self.max_num_batched_tokens, threshold, seats)
        if not self._schedule_running_at_once(step, view.num_decodes):
            self._schedule_running(step)
        if not step.evicted:
            self._schedule_waiting(step)
        elif self._waiting and (head := self._waiting.peek()) not in step.evicted:
            step.note(head, AFTER_PREEMPTION, math.nan, math.nan, step.evicted[-1])
        alone = not (step.chunks or step.evicted or step.paused)
        same = alone and not (self._skips_overflow and self._waiting)
        return Plan(
            tuple(step.chunks),
            tuple(step.admitted),
            tuple(step.evicted),
            tuple(step.paused),
            UNTIL_EVENT if same else 1,
            notes=tuple(step.notes),
        )

    def _schedule_running_at_once(self, step: _Step, decodes: int) -> bool:
        """The common case, in O(1): budget and memory suffice, so the order does not matter.

        Only a prompt at the end of the list may be cut by the budget. False changes nothing.
        """
        wanted = [(seq, self._wanted(step, seq)) for seq in step.batch.outside.values()]
        left = step.budget - decodes - sum(tokens for _, tokens in wanted)
        if left < 0:
            seq, tokens = wanted[-1] if wanted else (None, 0)
            if len(wanted) != 1 or tokens + left <= 0 or seq is not step.batch.last:
                return False
            wanted, left = [(wanted[0][0], tokens + left)], 0
        mark = step.kv.mark()
        fits = step.kv.extend_decodes() and all(
            step.kv.extend(seq, seq.num_computed + tokens) for seq, tokens in wanted
        )
        if not fits:
            step.kv.rollback(mark)
            return False
        step.chunks += wanted
        step.budget = left
        return True

    def _schedule_running(self, step: _Step) -> None:
        """vLLM's loop over running requests, one by one, with preemption."""
        order, granted, i = list(step.batch), dict[int, int](), 0
        while i < len(order) and step.budget > 0:
            seq = order[i]
            tokens = min(self._wanted(step, seq), step.budget)
            while not (fits := step.kv.extend(seq, seq.num_computed + tokens)):
                at = self._victim(order)
                victim = order.pop(at)
                i -= at < i
                step.budget += granted.pop(victim.id, 0)
                self._preempt(step, victim, seq)
                if victim is seq:
                    break
            if fits:
                granted[seq.id] = tokens
                step.budget -= tokens
                i += 1
            elif self.version != "0.33.0" or self.policy != "priority":
                break
        for seq in order:
            if not seq.decoding and seq.id in granted:
                step.chunks.append((seq, granted[seq.id]))
            elif seq.decoding and seq.id not in granted:
                step.paused.append(seq)
            if seq.id not in granted:
                self._note_left_out(step, seq)

    def _victim(self, order: list[SequenceView]) -> int:
        """Position of the request to preempt: the last, or the least urgent and latest."""
        if self.policy == "fcfs":
            return len(order) - 1
        return max(range(len(order)), key=lambda i: (order[i].priority, order[i].id))

    def _note_left_out(self, step: _Step, seq: SequenceView) -> None:
        """A running request gets nothing: the budget is used up, or the loop ended before."""
        if step.budget > 0:
            step.note(seq, AFTER_PREEMPTION, math.nan, math.nan, step.evicted[-1])
        else:
            step.note(seq, BUDGET, self._wanted(step, seq), 0)

    def _preempt(self, step: _Step, seq: SequenceView, other: SequenceView) -> None:
        """Take the request's memory for ``other``, which may be itself."""
        step.note(seq, MEMORY, math.nan, math.nan, other)
        step.kv.release(seq, resumable=True)
        step.evicted.append(seq)
        self._waiting.push_back([seq])

    def _schedule_waiting(self, step: _Step) -> None:
        """vLLM's admission loop: the head or nobody."""
        skipped: list[SequenceView] = []
        while self._waiting and step.budget > 0 and step.running < step.seats:
            seq = self._waiting.peek()
            hit = step.kv.lookup(seq)
            cached = len(hit) * step.kv.block_size
            remaining = seq.num_tokens - cached
            tokens = min(remaining, step.threshold or remaining)
            if tokens > step.budget and not self.enable_chunked_prefill:
                step.note(seq, BUDGET, tokens, step.budget)
                if not self._skips_overflow:
                    break
                skipped.append(self._waiting.pop())
                continue
            tokens = min(tokens, step.budget)
            must_fit = seq.num_tokens if self.scheduler_reserve_full_isl else 0
            spare = int(self.watermark * step.kv.num_gpu_blocks) if step.running else 0
            if not step.kv.admit(seq, cached + tokens, hit, must_fit=must_fit, spare=spare):
                step.note_memory(seq, max(must_fit, cached + tokens), hit, spare)
                break
            step.running += 1
            step.admitted.append((self._waiting.pop(), cached))
            step.budget -= tokens
            step.chunks.append((seq, tokens))
        else:
            self._note_head(step)
        self._waiting.push_back(skipped)

    def _note_head(self, step: _Step) -> None:
        if not (step.explain and self._waiting):
            return
        head = self._waiting.peek()
        if step.budget > 0:
            step.note(head, SEATS, step.running, self.max_num_seqs)
        else:
            step.note(head, BUDGET, head.num_tokens, step.budget)

    def _wanted(self, step: _Step, seq: SequenceView) -> int:
        remaining = seq.num_tokens - seq.num_computed
        return min(remaining, step.threshold or remaining)

    @property
    def _skips_overflow(self) -> bool:
        """Up to 0.11.2 a whole prompt over the budget was passed over, not waited for."""
        return self.version == "0.11.2" and not self.enable_chunked_prefill
