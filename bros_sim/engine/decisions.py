"""A plan -> the decisions in it, for the decision log."""

from collections.abc import Callable, Iterator, Mapping

from bros_sim.engine.decision_log import Decision
from bros_sim.engine.reasons import Note
from bros_sim.engine.scheduler import Plan
from bros_sim.engine.sequence import JobView


def decisions_of(
    plan: Plan, swapped: Mapping[int, JobView], interrupted: Callable[[int], bool]
) -> Iterator[Decision]:
    """The decisions of a plan that is not applied yet.

    Args:
        plan: The plan; a policy that gives no reasons in it is logged without.
        swapped: Jobs whose KV it moves to the CPU.
        interrupted: Whether a job was kept from running; in the plan's chunks it goes on.
    """
    notes = {note.job.id: note for note in plan.notes}
    for job in plan.evicted:
        yield _decision(job, "evicted", notes.pop(job.id, None))
    paused = {job.id: job for job in plan.paused if job.id not in swapped}
    for what, jobs in (("swapped_out", swapped), ("paused", paused)):
        for job in jobs.values():
            yield _decision(job, what, notes.pop(job.id, None))
    admitted = dict(plan.admitted)
    for job, cached in admitted.items():
        yield Decision(job.id, "admitted", cached)
    for job, _ in plan.chunks:
        if job not in admitted and interrupted(job.id):
            yield Decision(job.id, "resumed", job.num_computed)
    for note in notes.values():
        yield _decision(note.job, "passed_over", note)


def _decision(job: JobView, what: str, note: Note | None) -> Decision:
    if note is None:
        return Decision(job.id, what, job.num_computed)
    other = None if note.other is None else note.other.id
    return Decision(job.id, what, job.num_computed, note.reason, other, note.value, note.limit)
