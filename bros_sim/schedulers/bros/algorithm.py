"""BROS's Algorithm 1, request by request: who is in the batch of the next iteration.

The steps are those of docs/paper-map.md, which marks each as stated or inferred; the paper's own
line numbers are not known. A rule that no source states is named by its parameter.

- Residual time of an RT: from now until its next token is due (`BrosQueues.deadline`).
- Bound: the longest that the iteration may take, the least residual time of RT in the batch.
- Running batch: who decoded in the last iteration. Pending: who holds KV besides.
"""

import math
from collections import abc
from operator import itemgetter
from typing import TYPE_CHECKING

from bros_sim.engine.reasons import REPLACED
from bros_sim.engine.scheduler import ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.bros.batch import BrosNotes, NextBatch, Work
from bros_sim.schedulers.bros.memory import BrosMemory
from bros_sim.schedulers.bros.queues import BE, RT, BrosQueues, RtEntry

if TYPE_CHECKING:
    from bros_sim.schedulers.bros.parameters import BrosParameters

Swap = tuple[RtEntry, SequenceView]
"""An RT that gives its place up, and the BE in whose favour."""


class Algorithm1:
    """One plan. It writes into the open draft of the KV state and leaves the queues alone."""

    def __init__(
        self, view: ReplicaView, queues: BrosQueues, rules: "BrosParameters", cap: int, avg_s: float
    ) -> None:
        """``cap``: places in the batch (Eq. 7). ``avg_s``: average time of an iteration."""
        self.view = view
        self.kv = view.kv
        self.queues = queues
        self.rules = rules
        self.cap = cap
        self.avg_s = avg_s
        self.mark = view.kv.mark()
        self.start_over()

    def start_over(self) -> None:
        """Nobody is in the batch, and the KV state is as it was."""
        self.kv.rollback(self.mark)
        self.batch = NextBatch(self.view, self.cap)
        self.notes = BrosNotes(self.batch, self.queues, self.view.explain)
        self.memory = BrosMemory(self.queues, self.batch, self.notes, self.rules)
        self.line: list[RtEntry] = []  # RT in the order in which they are asked
        self.lenders: abc.Sequence[SequenceView] = ()  # to RT; the BE that would run last first

    def choose(self) -> None:
        """Steps 1 to 5; step 6 is `grows`."""
        self.fill()
        if swaps := self.swaps():
            self.replace(swaps)
            if not self.batch.size:  # no BE had memory (inferred: then nobody is replaced)
                self.start_over()
                self.fill()

    def fill(self) -> None:
        """Steps 1 to 4."""
        if not self.all_go_on():
            self.start_over()
            self.by_priority(self.queues.all_rt_entries(self.cap, self.view))

    def all_go_on(self) -> bool:
        """Step 1 (inferred): the running batch goes on as a whole if it can, and others join it.

        Its RT, which must be due at one instant, are asked together; so are its BE, before others.
        """
        now, queues, batch = self.view.now, self.queues, self.batch
        pending = self.view.batch.outside.values()
        due = queues.common_deadline(now) if self.view.decodes_by_class[0] else math.inf
        if due is None or self.view.num_decodes > self.cap or not self.kv.extend_decodes():
            return False
        batch.whole, self.lenders = True, queues.be_order(self.kv, pending)[::-1]
        before, after = self.around(due)
        self.line = before + after
        self.real_time(before)
        if not batch.take_members(RT, due - now):
            return False
        self.real_time(after)
        if batch.memory_short or not batch.take_members(BE, batch.put_off_s):
            return False
        self.holders(queues.be_order(self.kv, pending))
        self.newcomers()
        return True

    def around(self, due: float) -> tuple[list[RtEntry], list[RtEntry]]:
        """RT outside the running batch in order: up to the first one due at ``due``, and others."""
        line = self.in_order(self.queues.rt_entries(self.cap))
        first = next((place for place, entry in enumerate(line) if entry[0] >= due), len(line))
        return line[:first], line[first:]

    def by_priority(self, line: list[RtEntry]) -> None:
        """Steps 2 to 4: RT in this order, while the iteration keeps the bound, then BE."""
        order = self.queues.be_order(self.kv, self.view.batch)
        self.lenders = order[::-1]
        self.line = self.in_order(line)
        self.real_time(self.line)
        self.holders(order)
        self.newcomers()

    def in_order(self, line: list[RtEntry]) -> list[RtEntry]:
        """`late_policy`: who cannot be in time may have to stand behind all who can."""
        if self.rules.late_policy != "demote":
            return line
        batch, now = self.batch, self.view.now
        return sorted(line, key=lambda x: x[0] - now < batch.alone_s(batch.work(x[2])))

    def real_time(self, line: abc.Sequence[RtEntry]) -> None:
        """Step 3; the first one to find the batch full is the last one asked, but in step 1."""
        for deadline, _, seq in line:
            self.rt(seq, deadline - self.view.now)
            if self.batch.rt_capped and not self.batch.whole:
                break

    def rt(self, seq: SequenceView, residual: float) -> bool:
        """Take the RT if the bound allows (Eq. 6); False if time keeps it out, alone (inferred)."""
        batch = self.batch
        if batch.full:
            batch.left_out = batch.rt_capped = True
            self.notes.cap(seq)
            return True
        if seq.id in self.memory.gone:
            return True
        work = batch.work(seq, self.memory.borrowed_tokens(seq))
        savable = residual >= batch.alone_s(work)  # else it binds nobody (inferred)
        bound = min(batch.bound_s, residual) if savable else batch.bound_s
        if not batch.in_time(work, bound):
            if savable and self.rules.be_bound == "all_rt" and residual < batch.put_off_s:
                batch.put_off_s, batch.put_off = residual, seq
            batch.bound_hit = True
            self.no_time(seq, work, bound)
            return False
        # Free blocks, then BE's on loan (Eq. 8); else, but in step 1, somebody gives way.
        if self.memory.reserve(seq, self.lenders) or self.memory.fall_back(seq, self.lenders):
            batch.add(seq, work)
            batch.bound_s = bound
        else:
            self.no_memory(seq)
        return True

    def no_time(self, seq: SequenceView, work: Work, bound: float) -> None:
        """With it the iteration would take longer than the bound."""
        self.batch.left_out = True
        self.notes.deadline(seq, work, bound)

    def no_memory(self, seq: SequenceView, spare: int = 0) -> None:
        """There are not enough blocks, of which ``spare`` have to be left over."""
        self.batch.memory_short = self.batch.left_out = True
        self.notes.memory(seq, spare)

    def holders(self, held: abc.Sequence[SequenceView]) -> None:
        """Step 4: BE with KV; who lacks memory takes it from the last of them (`shortage`)."""
        for rank, seq in enumerate(held):
            if self.batch.full:
                self.no_place(held[rank:])
                break
            if seq.id in self.memory.gone or not (work := self.be_in_time(seq)):
                continue
            if self.memory.reserve(seq, ()) or self.memory.displace(seq, held[:rank:-1]):
                self.batch.add(seq, work)
            else:
                self.no_memory(seq)

    def newcomers(self) -> None:
        """Then (inferred) those that wait, by arrival; they leave a `watermark` of blocks free."""
        room = self.memory.tokens_to_spare()
        for _, seq in self.queues.be_waiting[: self.cap]:
            if self.batch.full:
                self.no_place((seq,))
                break
            if seq.num_tokens > room:  # asked before time: it is what most of them lack
                self.no_memory(seq, self.memory.spare)
            elif (work := self.be_in_time(seq)) and self.memory.reserve(seq, ()):
                self.batch.add(seq, work)
                room = self.memory.tokens_to_spare()

    def be_in_time(self, seq: SequenceView) -> Work | None:
        """What the BE would compute, if in time; `be_bound`: for whom, `cap_reset`: if not."""
        work = self.batch.work(seq)
        if self.batch.in_time(work, self.batch.be_bound_s):
            return work
        self.batch.bound_hit |= self.rules.cap_reset == "anyone"
        self.no_time(seq, work, self.batch.be_bound_s)
        return None

    def no_place(self, seqs: abc.Sequence[SequenceView]) -> None:
        """The batch is full, but RT may be replaced."""
        left = [seq for seq in seqs if seq.id not in self.memory.gone]
        self.batch.unserved += left
        self.batch.left_out |= bool(left)
        self.notes.cap(*left)

    def swaps(self) -> list[Swap]:
        """Step 5: RT of a full batch, most slack first, and BE for their place, by time alone."""
        batch = self.batch
        if not batch.unserved or (batch.rt_capped and self.rules.replacement == "rt_first"):
            return []  # nor while the cap keeps an RT out
        by_slack = sorted(self.rt_in_batch(), key=itemgetter(0), reverse=True)
        return self.in_time(list(zip(by_slack, batch.unserved, strict=False)))

    def rt_in_batch(self) -> list[RtEntry]:
        """RT in the batch, those that go on as a whole first."""
        members = self.queues.rt_members(self.view) if self.batch.whole else []
        return members + [entry for entry in self.line if entry[1] in self.batch.selected]

    def in_time(self, swaps: list[Swap]) -> list[Swap]:
        """The first of them while time allows: the bound, and the RT's own an iteration later."""
        for place, ((deadline, _, _), be) in enumerate(swaps):
            seconds = self.batch.seconds_with(self.batch.work(be))
            left = deadline - self.view.now - seconds
            if seconds > self.batch.be_bound_s or left < self.avg_s:  # the latter is inferred
                return swaps[:place]
        return swaps

    def replace(self, swaps: abc.Sequence[Swap]) -> None:
        """Steps 2 to 4 again, without those RT, so that they stay in time, and with no RT anew."""
        for_whom = {number: be for (_, number, _), be in swaps}
        stay = {number for _, number, _ in self.rt_in_batch()}.difference(for_whom)
        bound_hit, notes = self.batch.bound_hit, self.notes.by_seq
        self.start_over()
        self.batch.bound_s = swaps[-1][0][0] - self.view.now - self.avg_s
        self.batch.bound_hit, self.batch.left_out, self.notes.by_seq = bound_hit, True, notes
        line = self.queues.all_rt_entries(self.cap, self.view)
        for _, number, seq in line:
            if number in for_whom:
                self.notes.gave_way(REPLACED, (seq,), for_whom[number])
        self.by_priority([entry for entry in line if entry[1] in stay])

    def grows(self) -> bool:
        """Step 6: the cap doubles while no deadline binds ("like TCP"), else it starts over."""
        batch = self.batch
        gone = sum(seq.service_class is RT for seq in batch.evicted)
        come = sum(seq.service_class is RT for seq, _ in batch.admitted)
        holds_rt = self.view.batch.by_class[RT.priority] + come - gone > 0
        return not (batch.bound_hit and holds_rt)
