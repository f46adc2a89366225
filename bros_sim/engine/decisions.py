"""A plan -> the decisions in it, for the decision log."""

from collections.abc import Callable, Iterator, Mapping

from bros_sim.engine.decision_log import Decision
from bros_sim.engine.reasons import Note
from bros_sim.engine.scheduler import Plan
from bros_sim.engine.sequence import SequenceView


def decisions_of(
    plan: Plan, swapped: Mapping[int, SequenceView], interrupted: Callable[[int], bool]
) -> Iterator[Decision]:
    """The decisions of a plan that is not applied yet.

    Args:
        plan: The plan; a policy that gives no reasons in it is logged without.
        swapped: Requests whose KV it moves to the CPU.
        interrupted: Whether a request was kept from running; in the plan's chunks it goes on.
    """
    notes = {note.seq.id: note for note in plan.notes}
    for seq in plan.evicted:
        yield _decision(seq, "evicted", notes.pop(seq.id, None))
    paused = {seq.id: seq for seq in plan.paused if seq.id not in swapped}
    for what, seqs in (("swapped_out", swapped), ("paused", paused)):
        for seq in seqs.values():
            yield _decision(seq, what, notes.pop(seq.id, None))
    admitted = dict(plan.admitted)
    for seq, cached in admitted.items():
        yield Decision(seq.id, "admitted", cached)
    for seq, _ in plan.chunks:
        if seq not in admitted and interrupted(seq.id):
            yield Decision(seq.id, "resumed", seq.num_computed)
    for note in notes.values():
        yield _decision(note.seq, "passed_over", note)


def _decision(seq: SequenceView, what: str, note: Note | None) -> Decision:
    if note is None:
        return Decision(seq.id, what, seq.num_computed)
    other = None if note.other is None else note.other.id
    return Decision(seq.id, what, seq.num_computed, note.reason, other, note.value, note.limit)
