"""Who is in the next BROS batch: Algorithm 1, as one plan runs through it."""

import math
from collections import abc
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.bros.batch import Batch
from bros_sim.schedulers.bros.best_effort import best_effort
from bros_sim.schedulers.bros.offers import Offers
from bros_sim.schedulers.bros.queues import RT, BrosQueues, RtEntry


@dataclass(slots=True)
class Selection:
    """One pass over the queues. A pass that fails changes nothing but ``batch`` and the draft.

    ``everybody`` is the common case, in which every cohort member goes on: it treats the cohort as
    two groups and does not look at its members. ``one_by_one`` is the algorithm seq by seq.
    """

    queues: BrosQueues
    batch: Batch
    offers: Offers
    replaced: Mapping[int, SequenceView] = field(default_factory=dict)
    """RT that give their place up (by id), and the BE in whose favour."""
    others: Container[int] | None = None
    """Once RT are replaced, the RT (by id) that were in the batch: nobody else joins instead."""
    whole: bool = False
    """Whether the whole cohort goes on, its members not looked at one by one."""
    offered: list[RtEntry] = field(default_factory=list)
    """RT in the order in which they were asked; without the cohort if that goes on as a whole."""

    # -- the common case ------------------------------------------------------------------------

    def everybody(self) -> bool:
        """All of the cohort, and of the others whom the deadlines allow; False if not all."""
        batch, queues, offers = self.batch, self.queues, self.offers
        (rt, be), (_, be_kv) = batch.view.decodes_by_class, batch.view.decode_kv_by_class
        if rt + be > batch.cap or not batch.kv.extend_decodes():
            return False
        due = queues.common_deadline(batch.view.now) if rt else math.inf
        if due is None:
            return False
        pending = queues.be_order(batch.kv, pending_only=True)
        offers.lenders = pending[::-1]
        if not self._take_cohort_among(queues.rt_entries(batch.cap), due):
            return False
        if offers.memory_short or (be and not self._add_group(be, be_kv, batch.put_off_s)):
            return False
        best_effort(offers, queues.be_order(batch.kv, pending_only=True))
        self.whole = True
        return True

    def _take_cohort_among(self, others: list[RtEntry], due: float) -> bool:
        """RT in order of deadline; the cohort's members, all due at ``due``, as one group."""
        view = self.batch.view
        self.offered = entries = self._in_order(others)
        rt, kv_tokens = view.decodes_by_class[0], view.decode_kv_by_class[0]
        before = next((i for i, entry in enumerate(entries) if entry[0] >= due), len(entries))
        if self._fill_up(entries[:before]):
            return False
        self._offer_all(entries[:before])
        if rt and not self._add_group(rt, kv_tokens, due - view.now):
            return False
        self._offer_all(entries[before:])
        return True

    def _fill_up(self, entries: abc.Sequence[RtEntry]) -> bool:
        """Whether these, if they are decodes, surely leave too little room for the cohort."""
        running, offers = self.queues.running[RT], self.offers
        few = len(entries) + self.batch.view.num_decodes <= self.batch.cap
        if few or not entries or self.batch.estimate.noise:
            return False
        decodes = all(entry[1] in running for entry in entries)
        return decodes and offers.bound_with(entries[: self.batch.cap]) is not None

    def _offer_all(self, entries: abc.Sequence[RtEntry]) -> None:
        longest = 0 if self.batch.estimate.noise else self.batch.cap
        at = 0
        while at < len(entries) and not self.offers.memory_short:
            at = self._offer_next(entries, at, longest)

    def _add_group(self, seqs: int, kv_tokens: int, residual: float) -> bool:
        batch = self.batch
        bound = min(batch.bound_s, residual)
        if batch.size + seqs > batch.cap or batch.seconds_with_decodes(seqs, kv_tokens) > bound:
            return False
        batch.add_decodes(seqs, kv_tokens)
        batch.bound_s = bound
        return True

    # -- request by request
    # -----------------------------------------------------------------------------

    def one_by_one(self) -> None:
        """Algorithm 1: RT by residual time, then BE by what must be restored."""
        batch, offers = self.batch, self.offers
        order = self.queues.be_order(batch.kv, pending_only=False)
        offers.lenders, offers.last_resort = order[::-1], True
        self.offered = entries = self._in_order(self._candidates())
        at = 0
        while at < len(entries):
            if batch.size >= batch.cap:
                offers.keep_out(entries[at][2])
                break
            at = self._offer_next(entries, at, batch.cap)
        best_effort(offers, order)

    def _candidates(self) -> list[RtEntry]:
        """RT by deadline; once some are replaced, the others that were in the batch."""
        entries = self.queues.all_rt_entries(self.batch.cap, self.batch.view.now)
        if self.others is None:
            return entries
        others, replaced = self.others, self.replaced
        for _, number, seq in entries:
            if number in replaced:
                self.offers.notes.replaced(seq, replaced[number])
        return [x for x in entries if x[1] in others and x[1] not in replaced]

    def _in_order(self, entries: list[RtEntry]) -> list[RtEntry]:
        """By residual time; with ``demote``, who cannot be in time comes after all who can."""
        if not self.offers.rules.demote:
            return entries
        batch, now = self.batch, self.batch.view.now
        late = {x[1] for x in entries if x[0] - now < batch.alone_s(batch.work(x[2]))}
        return sorted(entries, key=lambda entry: entry[1] in late)

    def _offer_next(self, entries: abc.Sequence[RtEntry], at: int, longest: int) -> int:
        """Offer entry ``at``, or a run of up to ``longest`` decodes from there; where to go on."""
        run, after = self._run_from(entries, at, min(longest, self.batch.cap - self.batch.size))
        if run:
            self.offers.rt_decodes(run)
        elif after == at:
            deadline, _, seq = entries[at]
            self.offers.rt(seq, deadline - self.batch.view.now)
            return at + 1
        return after

    def _run_from(
        self, entries: abc.Sequence[RtEntry], at: int, most: int
    ) -> tuple[abc.Sequence[RtEntry], int]:
        """The decodes from there on that still have their KV, and where to go on after them."""
        running, gone = self.queues.running[RT], self.offers.memory.gone
        run: list[RtEntry] = []
        for place in range(at, len(entries)):
            entry = entries[place]
            if len(run) == most:
                return run, place
            if entry[1] in gone:
                continue
            if entry[1] not in running:
                return run, place
            run.append(entry)
        return run, len(entries)

    def rt_entries(self) -> list[RtEntry]:
        """RT in the batch, those that go on as a whole first."""
        members = self.queues.rt_members(self.batch.view.now) if self.whole else []
        selected = self.batch.selected
        return members + [entry for entry in self.offered if entry[1] in selected]
