"""Algorithm 1 with its decodes judged in groups: the same batch in less time.

The predicted time grows with every member and with its context. So a run of decodes is in time if
it is with all of them in, nobody is who is longer than one that was not, and memory only gets
shorter until somebody gives way. What has to move, borrow or restore KV is asked by itself, and so
is nearly everyone if the estimate has noise, which does not grow.
"""

import math
import sys
from bisect import bisect_right
from collections import abc
from itertools import accumulate, groupby
from operator import itemgetter

from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.bros.algorithm import Algorithm1, Swap
from bros_sim.schedulers.bros.batch import Work
from bros_sim.schedulers.bros.queues import RT, RtEntry


class GroupedAlgorithm1(Algorithm1):
    """`Algorithm1`, faster."""

    def start_over(self) -> None:
        """Nobody has been refused yet, either."""
        super().start_over()
        self.longest_rt = sys.maxsize  # no RT that waits, is late and as long as this gets memory
        self.longest_be = sys.maxsize  # no BE that waits and is as long as this is in time

    @property
    def each_counts(self) -> bool:
        """Whether each has to be asked even if a shorter one was refused for time."""
        return self.notes.asked or self.batch.estimate.noise > 0

    def all_go_on(self) -> bool:
        """See `Algorithm1`; at once False if who comes before the running batch fills it up."""
        return not self._crowded_out() and super().all_go_on()

    def _crowded_out(self) -> bool:
        """Whether pending decodes surely leave too little room for the running batch."""
        view = self.view
        due = self.queues.common_deadline(view.now) if view.decodes_by_class[0] else math.inf
        if due is None or not view.num_decodes or not self.queues.rt_pending:
            return False
        before, _ = self.around(due)
        few = len(before) + view.num_decodes <= self.cap
        if few or not before or self.batch.estimate.noise:
            return False
        pending = all(entry[1] in view.batch.outside for entry in before)
        if not pending or self._bound_with(before[: self.cap]) is None:
            return False
        return self.kv.restores_nothing or not any(self.kv.blocks_to_restore(x[2]) for x in before)

    def real_time(self, line: abc.Sequence[RtEntry]) -> None:
        batch, at = self.batch, 0
        longest = 0 if batch.whole and batch.estimate.noise else self.cap
        while at < len(line) and not self._settled():
            run, after = self._run_from(line, at, min(longest, self.cap - batch.size))
            if run:
                self._decodes(run)
            elif after == at:
                deadline, _, seq = line[at]
                self.rt(seq, deadline - self.view.now)
                after += 1
            at = after

    def _settled(self) -> bool:
        """Whether nothing can come of asking further RT."""
        batch = self.batch
        if batch.whole and (batch.memory_short or self.notes.asked):
            return batch.memory_short
        return batch.rt_capped

    def rt(self, seq: SequenceView, residual: float) -> bool:
        """See `Algorithm1`; who waits, is late and as long as one refused gets no memory either."""
        alike = seq.num_tokens >= self.longest_rt and residual < 0 and not seq.num_computed
        binds_nobody = math.isinf(self.batch.bound_s)
        if alike and binds_nobody and not (self.batch.full or self.memory.gone):
            self.no_memory(seq)
            return True
        return super().rt(seq, residual)

    def no_memory(self, seq: SequenceView, spare: int = 0) -> None:
        super().no_memory(seq, spare)
        if seq.service_class is RT and not seq.num_computed:
            self.longest_rt = min(self.longest_rt, seq.num_tokens)

    def _run_from(
        self, line: abc.Sequence[RtEntry], at: int, most: int
    ) -> tuple[abc.Sequence[RtEntry], int]:
        """The decodes from there on that still have their KV, by deadline, and where to go on."""
        outside, gone = self.view.batch.outside, self.memory.gone
        run: list[RtEntry] = []
        for place in range(at, len(line)):
            deadline, number, seq = line[place]
            if len(run) == most:
                return run, place
            if number in gone:
                continue
            holds_kv = seq.decoding or number in outside
            if not holds_kv or (run and deadline < run[-1][0]):
                return run, place
            run.append(line[place])
        return run, len(line)

    def _decodes(self, run: abc.Sequence[RtEntry]) -> None:
        """`rt` for decodes in order of deadline, no more than there is room for in the batch."""
        if (bound := self._bound_with(run)) is not None:
            self._take_run(run, bound)
        else:
            for _, alike in groupby(run, key=itemgetter(0)):
                self._due_at_once(list(alike))

    def _bound_with(self, run: abc.Sequence[RtEntry]) -> float | None:
        """The bound with all these decodes, in time together or each late even alone; else None."""
        batch, now = self.batch, self.view.now
        lengths = [seq.num_computed for _, _, seq in run]
        seconds = batch.seconds_with_decodes(len(run), sum(lengths) + len(run))
        bound = min(batch.bound_s, run[0][0] - now)
        if seconds <= bound:
            return bound
        if batch.estimate.noise or seconds > batch.bound_s:
            return None
        late = max(entry[0] for entry in run) - now < batch.alone_s(Work(1, min(lengths)))
        return batch.bound_s if late else None

    def _take_run(self, run: abc.Sequence[RtEntry], bound: float) -> None:
        """Decodes that are in time together; memory is what they may lack."""
        batch, seqs, place = self.batch, [seq for _, _, seq in run], 0
        binding, now = bound < batch.bound_s, self.view.now
        while place < len(seqs):
            if binding:  # the first of those that are in; whom memory refuses binds nobody
                bound = min(batch.bound_s, run[place][0] - now)
            if taken := self._take(seqs[place:]):
                batch.bound_s = bound
                place += taken
            elif seqs[place].id not in self.memory.gone:
                self._take_one(seqs[place], run[place][0], bound)
            place += not taken

    def _take_one(self, seq: SequenceView, deadline: float, bound: float) -> None:
        whole = seq.decoding or not self.kv.blocks_to_restore(seq)
        if whole and self.memory.reserve(seq, self.lenders):
            self.batch.add_all((seq,))
            self.batch.bound_s = bound
        else:
            self.rt(seq, deadline - self.view.now)

    def _due_at_once(self, run: abc.Sequence[RtEntry]) -> None:
        """Decodes with one deadline, not all of which are in time."""
        batch, residual = self.batch, run[0][0] - self.view.now
        seqs = [seq for _, _, seq in run]
        alike = self._bound_of_all(seqs, residual)
        taken = self._take(seqs[: self._first_in_time(seqs, alike)]) if alike is not None else 0
        if alike is not None and taken:
            batch.bound_s, seqs = alike, seqs[taken:]
        too_long = sys.maxsize
        for seq in seqs:
            if seq.id in self.memory.gone:
                continue
            if seq.num_computed >= too_long:
                batch.bound_hit = batch.left_out = True
            elif not self.rt(seq, residual) and alike is not None and not self.each_counts:
                too_long = sys.maxsize if self.kv.blocks_to_restore(seq) else seq.num_computed

    def _bound_of_all(self, seqs: abc.Sequence[SequenceView], residual: float) -> float | None:
        """The deadline that each of them would have to keep; None if they differ in that."""
        batch = self.batch
        if batch.estimate.noise:
            return None
        lengths = [seq.num_computed for seq in seqs]
        if residual >= batch.alone_s(Work(1, max(lengths))):
            return min(batch.bound_s, residual)
        return batch.bound_s if residual < batch.alone_s(Work(1, min(lengths))) else None

    def _first_in_time(self, seqs: abc.Sequence[SequenceView], bound: float) -> int:
        """How many of the decodes, from the first on, are in time together."""
        kv_tokens, batch = list(accumulate(seq.num_computed + 1 for seq in seqs)), self.batch
        return bisect_right(
            range(len(seqs)), bound, key=lambda i: batch.seconds_with_decodes(i + 1, kv_tokens[i])
        )

    def _take(self, decodes: abc.Sequence[SequenceView]) -> int:
        """The first so many are in: up to one that lacks memory, shares a block or lost tokens."""
        if self.memory.gone:
            return 0
        taken = self.kv.extend_all(decodes)
        self.batch.add_all(decodes[:taken])
        return taken

    def holders(self, held: abc.Sequence[SequenceView]) -> None:
        batch, taken = self.batch, 0
        if held and not batch.estimate.noise:
            able = held[: self.cap - batch.size]
            taken = self._take(able[: self._first_in_time(able, batch.be_bound_s)])
        super().holders(held[taken:])

    def be_in_time(self, seq: SequenceView) -> Work | None:
        waits = not seq.num_computed
        if waits and seq.num_tokens >= self.longest_be:
            return None
        work = super().be_in_time(seq)
        if work is None and waits and not self.each_counts:
            self.longest_be = seq.num_tokens
        return work

    def swaps(self) -> list[Swap]:
        """See `Algorithm1`; nobody is sorted if not even the first BE is in time."""
        batch = self.batch
        if batch.unserved:
            seconds = batch.seconds_with(batch.work(batch.unserved[0]))
            if seconds > batch.be_bound_s:
                return []
        return super().swaps()

    def in_time(self, swaps: list[Swap]) -> list[Swap]:
        """See `Algorithm1`; BE that only decode are all in time if the longest is."""
        batch = self.batch
        held = [swap for swap in swaps if batch.holds_kv(swap[1])]
        # Those with the most to restore come last.
        if not held or batch.estimate.noise or self.kv.blocks_to_restore(held[-1][1]):
            return super().in_time(swaps)
        longest = max(seq.num_computed for _, seq in held)
        seconds = batch.seconds_with_decodes(1, longest + 1)
        left = held[-1][0][0] - self.view.now - seconds
        if seconds > batch.be_bound_s or left < self.avg_s:
            return super().in_time(swaps)
        return held + super().in_time(swaps[len(held) :])
