"""How `OrderedScheduler` puts an iteration together, up to where a seat or memory is lacking."""

from collections.abc import Iterable
from dataclasses import dataclass

from bros_sim.engine.reasons import AFTER_PREEMPTION, MEMORY, SEATS, Note
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.ordered.policy import Lack, OrderedPolicy, Rank, Step


@dataclass(slots=True)
class Attempt:
    """Fills a step; changes neither the policy nor its queues, and writes into the KV draft."""

    policy: OrderedPolicy
    step: Step
    waiting: Iterable[SequenceView]  # in order of rank

    def put_together(self) -> None:
        """Evictions first, as KV managers demand; then decodes; then the rest of the budget."""
        step = self.step
        for gone in step.evictions:
            step.view.kv.release(gone.seq, resumable=self.policy.caches_prefixes)
            step.running[gone.seq.priority] -= 1
        if self._decode():
            self._share_out()

    def _decode(self) -> bool:
        """The cohort decodes, in O(1) unless some of it is paused; False: memory is lacking."""
        step, view = self.step, self.step.view
        gone = step.gone
        step.paused = [n.seq for n in step.idle if n.seq.decoding and n.seq.id not in gone]
        evicted = sum(gone.seq.decoding for gone in step.evictions)
        step.decodes = view.num_decodes - evicted - len(step.paused)
        step.budget -= step.decodes
        if step.paused:
            without = self._without()
            seqs = [x for x in view.batch if x.decoding and x.id not in without]
            fits = view.kv.extend_all(seqs) == len(seqs)
        else:
            fits = view.kv.extend_decodes()
        if fits and not self.policy.leaves_too_little(step):
            return True
        step.lack = Lack(None, MEMORY, waits=False)
        return False

    def _without(self) -> set[int]:
        """Running requests that have no part in it: evicted or idle."""
        return self.step.gone.union(note.seq.id for note in self.step.idle)

    def _share_out(self) -> None:
        """What is left of the budget, in order of rank; prompts under way keep their claims."""
        under_way = self._under_way()
        if self._takes_chunkwise():
            self.step.owed = sum(self._owed(seq, seq.num_computed) for seq in under_way)
        queue, finishes = iter(self.waiting), self.policy.finishes_prompts
        head = next(queue, None)
        for seq in under_way:
            while head and not finishes and self._place(head) < self._place(seq):
                head = next(queue, None) if self._starts(head) else None
            if not self._continues(seq):
                return
        while head and self._starts(head):
            head = next(queue, None)

    def _under_way(self) -> list[SequenceView]:
        """Prompts under way and paused requests that may go on, in order of rank."""
        if not (outside := self.step.view.batch.outside):
            return []
        without = self._without()
        return sorted((x for x in outside.values() if x.id not in without), key=self._place)

    def _place(self, seq: SequenceView) -> tuple[Rank, int]:
        return self.policy.rank(seq, self.step.view.now), seq.id

    def _continues(self, seq: SequenceView) -> bool:
        """Go on with a request outside the cohort; False: it lacks memory."""
        step = self.step
        lacking = seq.num_tokens - seq.num_computed
        tokens = self._granted(seq, lacking)
        if not tokens:
            step.note(self.policy.why_not(seq, lacking, step))
            return True
        room = seq.num_computed + tokens if self.policy.caches_prefixes else seq.num_tokens
        if not step.view.kv.extend(seq, room):
            step.lack = Lack(seq, MEMORY, waits=False)
            return False
        if step.owed:
            step.owed -= self._owed(seq, seq.num_computed) - self._owed(seq, room)
        step.add(seq, tokens)
        return True

    def _starts(self, seq: SequenceView) -> bool:
        """Admit the head of the queue, or say what it lacks."""
        step, kv, alone = self.step, self.step.view.kv, not any(self.step.running)
        # Who runs lacked memory: nobody is admitted.
        if taken := next((gone for gone in step.evictions if not gone.lack.waits), None):
            step.note(Note(seq, AFTER_PREEMPTION, taken.seq))
            return False
        hit = kv.lookup(seq) if self.policy.caches_prefixes else ()
        cached = len(hit) * kv.block_size
        tokens = self._granted(seq, seq.num_tokens - cached)
        if not tokens:
            step.note(self.policy.why_not(seq, seq.num_tokens - cached, step))
            return False
        if not (alone or self.policy.has_seat(seq, step)):
            step.stop(seq, SEATS, sum(step.running), sum(step.running))
            return False
        room = cached + tokens if self.policy.caches_prefixes else seq.num_tokens
        spare = 0 if alone else self.policy.spare_blocks(seq, step) + step.owed
        if not kv.admit(seq, room, hit, must_fit=seq.num_tokens, spare=spare):
            step.stop(seq, MEMORY, -(-seq.num_tokens // kv.block_size) + spare, kv.free_blocks)
            return False
        if self._takes_chunkwise():
            step.owed += self._owed(seq, room)
        step.running[seq.priority] += 1
        step.admitted.append((seq, cached))
        step.add(seq, tokens)
        return True

    def _takes_chunkwise(self) -> bool:
        return self.policy.caches_prefixes and not self.step.view.kv.reserves

    def _owed(self, seq: SequenceView, tokens: int) -> int:
        """Blocks that the request lacks for all its tokens when it has room for ``tokens``."""
        size = self.step.view.kv.block_size
        return -(-seq.num_tokens // size) + -tokens // size

    def _granted(self, seq: SequenceView, wanted: int) -> int:
        """Tokens that the budget and the policy allow; all or none if prompts are not cut."""
        step = self.step
        tokens = min(wanted, step.budget)
        if tokens > 0 and not step.forced:
            tokens = self.policy.grant(seq, tokens, step)
        return tokens if tokens > 0 and (self.policy.cuts_prompts or tokens == wanted) else 0
