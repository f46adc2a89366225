"""vLLM's first scheduler (vllm/core/scheduler.py and block_manager.py, 0.2.0 to 0.4.x, defaults).

What the BROS paper most likely compared with (inferred: OPT on A100-40GB). An iteration runs
prompts or decodes, never both. The rules, checked against public copies of that code:

- Prompts first, whole, FCFS, as long as no request is swapped out: the head joins if it has a seat
  (``max_num_seqs``), the prompts of the iteration stay within ``max_num_batched_tokens``, and all
  its blocks fit with ``watermark`` of all blocks left free; else nobody behind it joins either.
- Without a prompt, every running request decodes, in order of arrival. Each must find a free block,
  whether or not it needs one; where there is none, the latest arrival is preempted.
- Preemption recomputes: the request is first in the queue again, with its tokens as the prompt.
  By swap it comes back, FCFS, before any prompt and in an iteration that preempted nobody, if its
  blocks and one more fit with the watermark left free.

Simplified: the token limit is the plain sum (0.4.x and the first 0.2 releases; those between
counted padding). A request alone needs neither watermark nor a block it does not use (vLLM would
give up the first and preempt the second). When the CPU is full, recompute (vLLM aborted). No prefix
caching, beam search, LoRA, chunked prefill (an option since 0.4.0) or ``delay_factor``.
"""

from collections import abc, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_doc import Doc

from bros_sim.core.world import Supplied, World
from bros_sim.engine import reasons
from bros_sim.engine.kv_cache import KVManager
from bros_sim.engine.reasons import Note
from bros_sim.engine.scheduler import Plan, ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.parameters import Count, SchedulerParameters, Seats, Watermark, too_few


class VllmV0Scheduler:
    """One call of vLLM's ``schedule()`` an iteration."""

    overhead_share = 0.0

    def __init__(self, parameters: "VllmV0Parameters") -> None:
        self.parameters = parameters
        self._waiting: deque[SequenceView] = deque()
        self._size = 0  # requests that run and are not swapped out, as the plan goes
        self._swapped: dict[int, SequenceView] = {}
        self._notes: list[Note] = []

    def set_true_length(self, seq: SequenceView, output_tokens: int) -> None:
        pass

    def submit(self, seq: SequenceView) -> None:
        self._waiting.append(seq)

    def finished(self, seq: SequenceView) -> None:
        self._swapped.pop(seq.id, None)

    def waiting_seqs(self) -> Iterable[SequenceView]:
        return iter(self._waiting)

    def plan(self, view: ReplicaView) -> Plan:
        self._notes = []
        self._size = len(view.batch) - len(self._swapped)
        admitted = [] if self._swapped else self._admit(view)
        if admitted:
            if view.explain:
                self._notes += (Note(x, reasons.PROMPTS_FIRST, admitted[0]) for x in view.batch)
            chunks = tuple((seq, seq.num_tokens) for seq in admitted)
            begun = tuple((seq, 0) for seq in admitted)
            return Plan(chunks, begun, stalls=True, notes=tuple(self._notes))
        evicted, swapped = self._make_room(view)
        back = [] if evicted or swapped else self._swap_in(view.kv)
        if view.explain:
            self._note_preempted(view.kv, [*evicted, *swapped])
        same = not (evicted or swapped or back)
        return Plan(
            tuple((seq, 1) for seq in back),
            evicted=tuple(evicted),
            paused=tuple(swapped),
            repeat=self._repeat(view) if same else 1,
            notes=tuple(self._notes),
        )

    def _admit(self, view: ReplicaView) -> list[SequenceView]:
        admitted: list[SequenceView] = []
        kv, budget = view.kv, self.parameters.max_num_batched_tokens
        while self._waiting and self._size < self.parameters.max_num_seqs:
            seq, spare = self._waiting[0], self._spare(kv)
            tokens = seq.num_tokens
            if tokens > budget or not kv.admit(seq, tokens, (), must_fit=tokens, spare=spare):
                break
            admitted.append(self._waiting.popleft())
            self._size += 1
            budget -= tokens
        if view.explain and self._waiting:
            self._notes.append(self._why_not(self._waiting[0], kv, budget))
        return admitted

    def _spare(self, kv: KVManager) -> int:
        return int(self.parameters.watermark * kv.num_gpu_blocks) if self._size else 0

    def _make_room(self, view: ReplicaView) -> tuple[list[SequenceView], list[SequenceView]]:
        """Preempt the latest arrivals until all others can decode: recomputed, swapped out.

        vLLM preempts one by one when one lacks a block; who is left in the end is the same.
        """
        evicted: list[SequenceView] = []
        swapped: list[SequenceView] = []
        kv = view.kv
        while self._size and not self._extend(view, evicted):
            seq = self._latest(view, evicted)
            self._size -= 1
            if self.parameters.preemption_mode == "swap" and kv.swap_out(seq):
                self._swapped[seq.id] = seq
                swapped.append(seq)
            else:
                kv.release(seq, resumable=True)
                self._waiting.appendleft(seq)
                evicted.append(seq)
        return evicted, swapped

    def _latest(self, view: ReplicaView, evicted: abc.Sequence[SequenceView]) -> SequenceView:
        """The latest arrival of those that are neither swapped out nor evicted."""
        gone = self._swapped.keys() | {seq.id for seq in evicted}
        return max((seq for seq in view.batch if seq.id not in gone), key=lambda seq: seq.id)

    def _extend(self, view: ReplicaView, evicted: abc.Sequence[SequenceView]) -> bool:
        """One more token for all. The last to ask must find a free block, needed or not."""
        kv, mark = view.kv, view.kv.mark()
        if not kv.extend_decodes():
            return False
        if kv.free_blocks or self._size == 1:
            return True
        took_a_block = self._latest(view, evicted).num_computed % kv.block_size == 0
        if not took_a_block:
            kv.rollback(mark)
        return took_a_block

    def _swap_in(self, kv: KVManager) -> list[SequenceView]:
        """Bring back the earliest arrivals, to decode a token at once. Nobody took their seats."""
        back: list[SequenceView] = []
        for seq_id in sorted(self._swapped):
            seq = self._swapped[seq_id]
            left = kv.free_blocks - kv.blocks_to_restore(seq) - 1
            if left < self._spare(kv) or not kv.extend(seq, seq.num_tokens):
                break
            back.append(self._swapped.pop(seq_id))
            self._size += 1
        return back

    def _why_not(self, head: SequenceView, kv: KVManager, budget: int) -> Note:
        if self._size >= self.parameters.max_num_seqs:
            return Note(head, reasons.SEATS, None, self._size, self.parameters.max_num_seqs)
        if head.num_tokens > budget:
            return Note(head, reasons.BUDGET, None, head.num_tokens, budget)
        blocks = -(-head.num_tokens // kv.block_size) + self._spare(kv)
        return Note(head, reasons.MEMORY, None, blocks, kv.free_blocks)

    def _note_preempted(self, kv: KVManager, preempted: abc.Sequence[SequenceView]) -> None:
        """The latest arrivals made room for the others; what keeps the swapped and the waiting."""
        self._notes += (Note(seq, reasons.MEMORY) for seq in preempted)
        gone = {seq.id for seq in preempted}
        first = self._swapped[min(self._swapped)] if self._swapped else None
        if first is None or first.id in gone:
            return
        if preempted:
            self._notes.append(Note(first, reasons.AFTER_PREEMPTION, preempted[0]))
        else:
            blocks = kv.blocks_to_restore(first) + 1 + self._spare(kv)
            self._notes.append(Note(first, reasons.MEMORY, None, blocks, kv.free_blocks))
        if self._waiting and self._waiting[0].id not in gone:
            self._notes.append(Note(self._waiting[0], reasons.SWAPPED_FIRST, first))

    def _repeat(self, view: ReplicaView) -> int:
        """Iterations in which everybody surely finds a free block; who waits goes on waiting."""
        if not self._size:
            return 1
        rounds = max(view.kv.free_blocks - 1, 0) // self._size
        return 1 + rounds * view.kv.block_size


@dataclass(frozen=True)
class VllmV0Parameters(SchedulerParameters):
    """vLLM 0.2 to 0.4: prompts before decodes, FCFS, preemption by recompute or swap."""

    makes = VllmV0Scheduler
    fidelity = "simplified"

    max_num_batched_tokens: Annotated[
        Count,
        Supplied("the model length, at least 2048", lambda w, _: max(w.max_model_len, 2048)),
        Doc("prompt tokens of an iteration"),
    ] = 2048
    max_num_seqs: Seats = 256
    watermark: Watermark = 0.01
    preemption_mode: Annotated[
        Literal["recompute", "swap"],
        Doc("drop the victim's KV, or move it to the CPU while the KV manager has room there"),
    ] = "recompute"

    @property
    def mirrors(self) -> str:
        return f"vLLM 0.2-0.4 scheduler (FCFS, {self.preemption_mode}), simplified"

    def conflicts(self, world: World) -> tuple[str, ...]:
        budget, length = self.max_num_batched_tokens, world.max_model_len
        return too_few("max_num_batched_tokens", budget, self.max_num_seqs, length)
