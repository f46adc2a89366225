"""BROS-RR, the ablation of the BROS paper (section 5): round robin without bidirectional KV.

Stated (digests of the paper): round robin, no bidirectional KV, whole prompts, prefill and decode
in one batch. Everything else is inferred:

- An iteration serves one class; real-time and best-effort iterations alternate while both have
  work, and a turn that memory leaves empty goes to the other class, which keeps its KV meanwhile.
- All running requests of the class decode, in order of arrival; then waiting ones join, FCFS, up to
  ``batch_cap`` requests and ``max_num_batched_tokens`` prompt tokens, unless someone running lacked
  memory.
- Memory is got by recompute. An RT request takes it from BE requests, the latest arrival first; a
  running one then from RT requests that arrived after it. A running BE request takes it from BE
  requests that arrived after it, a waiting one from nobody. Who still lacks a block is passed over
  and keeps its KV. So the earliest arrival of a class is never recomputed for its own class.
"""

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain, repeat
from operator import attrgetter
from typing import Annotated

from annotated_doc import Doc

from bros_sim.core.request import ServiceClass
from bros_sim.core.world import World
from bros_sim.engine import reasons
from bros_sim.engine.kv_cache import KVManager
from bros_sim.engine.reasons import Note
from bros_sim.engine.scheduler import Plan, ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.parameters import Count, SchedulerParameters, Watermark, too_few

RT, BE = ServiceClass.RT, ServiceClass.BE
_by_arrival = attrgetter("id")


@dataclass(slots=True)
class _Turn:
    """One class's iteration under construction; ``running`` is what is left of the running."""

    kv: KVManager
    running: dict[ServiceClass, list[SequenceView]]
    explain: bool
    batch: list[SequenceView] = field(default_factory=list)
    admitted: list[SequenceView] = field(default_factory=list)
    evicted: list[SequenceView] = field(default_factory=list)
    takers: list[SequenceView] = field(default_factory=list)  # for whom each of those gave way
    left_out: list[Note] = field(default_factory=list)

    def take_from(self, service_class: ServiceClass, taker: SequenceView, after: int = -1) -> bool:
        """Drop the KV of the class's latest arrival, if that is later than request ``after``."""
        seqs = self.running[service_class]
        if not seqs or seqs[-1].id <= after:
            return False
        seq = seqs.pop()
        self.kv.release(seq, resumable=True)
        self.evicted.append(seq)
        self.takers.append(taker)
        return True

    def give_back(self, mark: int, evicted: int) -> None:
        """Undo all since ``mark``, when ``evicted`` BE requests or none had been dropped."""
        self.kv.rollback(mark)
        self.running[BE] += reversed(self.evicted[evicted:])
        del self.evicted[evicted:], self.takers[evicted:]


class RoundRobinScheduler:
    """Two queues that take turns."""

    overhead_share = 0.0

    def __init__(self, parameters: "BrosRoundRobinParameters") -> None:
        self.parameters = parameters
        self._waiting: dict[ServiceClass, list[SequenceView]] = {RT: [], BE: []}
        self._last = BE

    def set_true_length(self, seq: SequenceView, output_tokens: int) -> None:
        pass

    def submit(self, seq: SequenceView) -> None:
        self._waiting[seq.service_class].append(seq)

    def finished(self, seq: SequenceView) -> None:
        pass

    def waiting_seqs(self) -> Iterable[SequenceView]:
        return chain(self._waiting[RT], self._waiting[BE])

    def plan(self, view: ReplicaView) -> Plan:
        """The turn of the class that did not have the last one, or the other's."""
        mark, starved = view.kv.mark(), list[Note]()
        for service_class in (RT, BE) if self._last is BE else (BE, RT):
            turn = self._turn(view, service_class)
            if turn.batch:
                self._last = service_class
                turn.left_out += starved
                return self._decide(turn, service_class)
            view.kv.rollback(mark)
            starved = [note for note in turn.left_out if note.reason == reasons.MEMORY]
        return Plan()

    def _turn(self, view: ReplicaView, service_class: ServiceClass) -> _Turn:
        seqs = sorted(view.batch, key=_by_arrival)
        running = {cls: [seq for seq in seqs if seq.service_class is cls] for cls in (RT, BE)}
        turn = _Turn(view.kv, running, view.explain)
        self._go_on(turn, service_class)
        if not turn.evicted:
            self._admit(turn, service_class)
        elif turn.explain and self._waiting[service_class]:
            head = self._waiting[service_class][0]
            turn.left_out.append(Note(head, reasons.AFTER_PREEMPTION, turn.evicted[-1]))
        return turn

    def _go_on(self, turn: _Turn, service_class: ServiceClass) -> None:
        seqs = turn.running[service_class]
        while len(turn.batch) < len(seqs):
            seq = seqs[len(turn.batch)]
            while not turn.kv.extend(seq, seq.num_tokens):
                from_be = service_class is RT and turn.take_from(BE, seq)
                if not (from_be or turn.take_from(service_class, seq, after=seq.id)):
                    if turn.explain:
                        turn.left_out += (Note(x, reasons.MEMORY) for x in seqs[len(turn.batch) :])
                    return
            turn.batch.append(seq)

    def _admit(self, turn: _Turn, service_class: ServiceClass) -> None:
        """Waiting requests of the class; the head or nobody."""
        left = self.parameters.max_num_batched_tokens
        for seq in self._waiting[service_class]:
            if len(turn.batch) == self.parameters.batch_cap:
                turn.left_out.append(Note(seq, reasons.BATCH_CAP, limit=len(turn.batch)))
                return
            if seq.num_tokens > left:
                turn.left_out.append(Note(seq, reasons.BUDGET, None, seq.num_tokens, left))
                return
            left -= seq.num_tokens
            kv, tokens = turn.kv, seq.num_tokens
            mark, evicted = kv.mark(), len(turn.evicted)
            while not kv.admit(seq, tokens, (), must_fit=tokens, spare=self._spare(turn)):
                if service_class is BE or not turn.take_from(BE, seq):
                    turn.give_back(mark, evicted)
                    blocks = -(-tokens // kv.block_size) + self._spare(turn)
                    turn.left_out.append(Note(seq, reasons.MEMORY, None, blocks, kv.free_blocks))
                    return
            turn.batch.append(seq)
            turn.admitted.append(seq)
            turn.running[service_class].append(seq)

    def _spare(self, turn: _Turn) -> int:
        beside_others = turn.running[RT] or turn.running[BE]
        return int(self.parameters.watermark * turn.kv.num_gpu_blocks) if beside_others else 0

    def _notes(self, turn: _Turn, service_class: ServiceClass) -> tuple[Note, ...]:
        """Why the others do not run: of those whose turn it is not, the running and the head."""
        other = BE if service_class is RT else RT
        idle = [*turn.running[other], *self._waiting[other][:1]]
        pushed = {seq.id for seq in turn.evicted}
        named = pushed.union(note.seq.id for note in turn.left_out)
        return (
            *map(Note, turn.evicted, repeat(reasons.MEMORY), turn.takers),
            *(note for note in turn.left_out if note.seq.id not in pushed),
            *(Note(seq, reasons.OTHER_CLASS) for seq in idle if seq.id not in named),
        )

    def _decide(self, turn: _Turn, service_class: ServiceClass) -> Plan:
        for seq in turn.evicted:
            insort(self._waiting[seq.service_class], seq, key=_by_arrival)
        for seq in turn.admitted:
            self._waiting[seq.service_class].remove(seq)
        for seqs in turn.running.values():
            seqs.sort(key=_by_arrival)
        chosen = {seq.id for seq in turn.batch}
        idle = (seq for seq in chain(*turn.running.values()) if seq.id not in chosen)
        lacking = (seq for seq in turn.batch if not seq.decoding)
        return Plan(
            tuple((seq, seq.num_tokens - seq.num_computed) for seq in lacking),
            tuple((seq, 0) for seq in turn.admitted),
            tuple(turn.evicted),
            tuple(seq for seq in idle if seq.decoding),
            notes=self._notes(turn, service_class) if turn.explain else (),
        )


@dataclass(frozen=True)
class BrosRoundRobinParameters(SchedulerParameters):
    """BROS-RR: real-time and best-effort iterations alternate, preemption by recompute."""

    makes = RoundRobinScheduler
    fidelity = "reconstructed"
    mirrors = "BROS-RR (arXiv 2504.09590v1, baseline), reconstructed: docs/paper-map.md"

    batch_cap: Annotated[Count, Doc("most requests of an iteration")] = 128
    max_num_batched_tokens: Annotated[Count, Doc("prompt tokens of an iteration")] = 2048
    watermark: Watermark = 0.01

    def conflicts(self, world: World) -> tuple[str, ...]:
        budget = self.max_num_batched_tokens
        return too_few("max_num_batched_tokens", budget, 0, world.max_model_len)
