"""A BROS batch as it grows: whoever is asked joins it, or it is known why not."""

import math
from bisect import bisect_left
from collections import abc
from dataclasses import dataclass, field
from itertools import accumulate, groupby
from operator import itemgetter
from typing import NamedTuple

from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.bros.batch import Batch, Work
from bros_sim.schedulers.bros.memory import BrosMemory
from bros_sim.schedulers.bros.notes import BrosNotes
from bros_sim.schedulers.bros.queues import BrosQueues, RtEntry


class Rules(NamedTuple):
    """Readings of Algorithm 1, each a parameter of `BrosScheduler`."""

    demote: bool
    """RT that cannot be in time come after all that can."""
    be_keeps_all_rt: bool
    """BE keep the deadlines of RT that were put off, too."""
    be_resets_cap: bool
    """A BE that does not fit starts the cap over, not an RT alone."""
    rt_first: bool
    """No RT gives its place to a BE while the cap keeps another RT out."""


@dataclass(slots=True)
class Offers:
    """The offers of one pass over the queues, and what came of them.

    Decodes in a row are judged together wherever that tells what one by one would: the predicted
    time grows with every member and with its context, so all fit if the last one does, and none
    does if the shortest does not. An estimate with noise does not grow; a decision log wants each.
    """

    queues: BrosQueues
    batch: Batch
    memory: BrosMemory
    notes: BrosNotes
    rules: Rules
    lenders: abc.Sequence[SequenceView] = ()
    """BE whose blocks RT may borrow."""
    last_resort: bool = False
    """Whether RT that lack memory may push others out."""
    unserved: list[SequenceView] = field(default_factory=list)
    """BE that the cap alone kept out."""
    memory_short: bool = False
    """Whether someone was kept out by memory: more of it may come free only by an event."""
    left_out: bool = False
    """Whether anyone who could compute does not."""
    rt_capped: bool = False
    """Whether the cap alone kept an RT out."""
    bound_hit: bool = False
    """Whether a deadline kept someone out on whose account the cap starts over."""
    too_long_for_memory: float = math.inf
    """Tokens of the shortest waiting RT for whom there was no memory."""

    @property
    def each_counts(self) -> bool:
        """Whether each has to be asked even if a shorter one was refused for time."""
        return self.notes.asked or self.batch.estimate.noise > 0

    # -- real-time ------------------------------------------------------------------------------

    def rt(self, seq: SequenceView, residual: float) -> bool:
        """Take the request if the tightest deadline allows; one that cannot be in time binds none.

        False if the predicted time keeps it out.
        """
        batch = self.batch
        if seq.id in self.memory.gone:
            self.left_out = True
            return True
        if batch.size >= batch.cap:
            self.keep_out(seq)
            return True
        if self._hopeless(seq, residual):
            self.memory_short = self.left_out = True
            self.notes.memory(seq)
            return True
        work = batch.work(seq, self._borrowed_tokens(seq))
        savable = residual >= batch.alone_s(work)
        bound = min(batch.bound_s, residual) if savable else batch.bound_s
        if batch.size and (seconds := batch.seconds_with(work)) > bound:
            self.bound_hit = self.left_out = True
            if savable and self.rules.be_keeps_all_rt:
                batch.keep_in_mind(seq, residual)
            self.notes.deadline(seq, seconds, bound)
            return False
        if self.memory.reserve(seq, self.lenders) or (
            self.last_resort and self.memory.fall_back(seq, self.lenders)
        ):
            batch.add(seq, work)
            batch.bound_s = bound
        else:
            self.memory_short = self.left_out = True
            self.notes.memory(seq)
            if not seq.num_computed:
                self.too_long_for_memory = seq.num_tokens
        return True

    def keep_out(self, seq: SequenceView) -> None:
        """The batch is full before an RT."""
        self.left_out = self.rt_capped = True
        self.notes.cap(seq)

    def _hopeless(self, seq: SequenceView, residual: float) -> bool:
        """Whether a waiting one is late, binds nobody, and is as long as one that memory refused.

        Memory only gets shorter until somebody is pushed out.
        """
        if seq.num_tokens < self.too_long_for_memory or residual >= 0 or self.memory.gone:
            return False
        return math.isinf(self.batch.bound_s) and not seq.num_computed

    def rt_decodes(self, run: abc.Sequence[RtEntry]) -> None:
        """`rt` for decodes in order of deadline, no more than there is room for in the batch."""
        bound = self.bound_with(run)
        if bound is None:
            for _, alike in groupby(run, key=itemgetter(0)):
                self._due_at_once(list(alike))
        else:
            self._take_run(run, bound)

    def _take_run(self, run: abc.Sequence[RtEntry], bound: float) -> None:
        """Decodes that are in time together; memory is what they may lack."""
        batch, seqs, place = self.batch, [seq for _, _, seq in run], 0
        binding, now = bound < batch.bound_s, batch.view.now
        while place < len(seqs):
            if binding:  # the first of those that are in; whom memory refuses binds nobody
                bound = min(batch.bound_s, run[place][0] - now)
            if taken := self.take(seqs[place:]):
                batch.bound_s = bound
                place += taken
            elif seqs[place].id not in self.memory.gone:
                self._take_one(seqs[place], run[place][0], bound)
            place += not taken

    def _take_one(self, seq: SequenceView, deadline: float, bound: float) -> None:
        whole = seq.decoding or not self.batch.kv.blocks_to_restore(seq)
        if whole and self.memory.reserve(seq, self.lenders):
            self.batch.add_all((seq,))
            self.batch.bound_s = bound
        else:
            self.rt(seq, deadline - self.batch.view.now)

    def bound_with(self, run: abc.Sequence[RtEntry]) -> float | None:
        """The tightest deadline with all these decodes in; None if time may keep one of them out.

        Either all are in time together, or each of them is late even by itself and binds nobody.
        """
        batch, now = self.batch, self.batch.view.now
        lengths = [seq.num_computed for _, _, seq in run]
        seconds = batch.seconds_with_decodes(len(run), sum(lengths) + len(run))
        bound = min(batch.bound_s, run[0][0] - now)
        if seconds <= bound:
            return bound
        if batch.estimate.noise or seconds > batch.bound_s:
            return None
        late = max(entry[0] for entry in run) - now < batch.alone_s(Work(1, min(lengths)))
        return batch.bound_s if late else None

    def _due_at_once(self, run: abc.Sequence[RtEntry]) -> None:
        """Decodes with one deadline, not all of which are in time."""
        batch, residual = self.batch, run[0][0] - self.batch.view.now
        seqs = [seq for _, _, seq in run]
        alike = self._bound_of_all(seqs, residual)
        taken = self.take(seqs[: self.first_in_time(seqs, alike)]) if alike is not None else 0
        if alike is not None and taken:
            batch.bound_s, seqs = alike, seqs[taken:]
        too_long = math.inf
        for seq in seqs:
            if seq.id in self.memory.gone:
                continue
            if seq.num_computed >= too_long:
                self.bound_hit = self.left_out = True
            elif not self.rt(seq, residual) and alike is not None and not self.each_counts:
                too_long = math.inf if batch.kv.blocks_to_restore(seq) else seq.num_computed

    def _bound_of_all(self, seqs: abc.Sequence[SequenceView], residual: float) -> float | None:
        """The deadline that each of them would have to keep; None if they differ in that."""
        batch = self.batch
        if batch.estimate.noise:
            return None
        lengths = [seq.num_computed for seq in seqs]
        if residual >= batch.alone_s(Work(1, max(lengths))):
            return min(batch.bound_s, residual)
        return batch.bound_s if residual < batch.alone_s(Work(1, min(lengths))) else None

    def first_in_time(self, seqs: abc.Sequence[SequenceView], bound: float) -> int:
        """How many of the decodes, from the first on, are in time together."""
        kv_tokens = list(accumulate(seq.num_computed + 1 for seq in seqs))

        def late(place: int) -> bool:
            return self.batch.seconds_with_decodes(place + 1, kv_tokens[place]) > bound

        return bisect_left(range(len(seqs)), True, key=late)

    def take(self, decodes: abc.Sequence[SequenceView]) -> int:
        """The first so many are in: up to one that lacks memory, shares a block or lost tokens."""
        if self.memory.gone:
            return 0
        taken = self.batch.kv.extend_all(decodes)
        self.batch.add_all(decodes[:taken])
        return taken

    def _borrowed_tokens(self, seq: SequenceView) -> int:
        """BE tokens that it would overwrite, at most: full blocks beyond the free."""
        if seq.num_computed:
            return 0
        size = self.batch.kv.block_size
        return size * max(0, -(-seq.num_tokens // size) - self.batch.kv.free_blocks)
