"""How `OrderedLoop` puts an iteration together, up to where a seat or memory is lacking."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bros_sim.engine.reasons import AFTER_PREEMPTION, MEMORY, Note
from bros_sim.engine.sequence import JobView
from bros_sim.schedulers.ordered.policy import OrderedPolicy
from bros_sim.schedulers.ordered.step import Lack, Step


@dataclass(slots=True)
class Attempt:
    """Fills a step; changes neither the policy nor its queues, and writes into the KV draft."""

    policy: OrderedPolicy
    step: Step
    running: Mapping[int, JobView]
    outside: Mapping[int, JobView]
    """Those of the running that are not in the cohort."""
    waiting: Iterable[JobView]
    """In order of rank."""

    def put_together(self) -> None:
        """Evictions first, as KV managers demand; then decodes; then the rest of the budget."""
        step = self.step
        for gone in step.evictions:
            step.view.kv.release(gone.job, resumable=self.policy.caches_prefixes)
            step.running[gone.job.priority] -= 1
        if self._decode():
            self._share_out()

    def _decode(self) -> bool:
        """The cohort decodes, in O(1) unless some of it is paused; False: memory is lacking."""
        step, view = self.step, self.step.view
        without = step.without() if step.idle else set()
        gone = {gone.job.id for gone in step.evictions}
        step.paused = [n.job for n in step.idle if n.job.decoding and n.job.id not in gone]
        evicted = sum(gone.job.decoding for gone in step.evictions)
        step.decodes = view.num_decodes - evicted - len(step.paused)
        step.budget -= step.decodes
        if step.paused:
            jobs = [x for x in self.running.values() if x.decoding and x.id not in without]
            fits = view.kv.extend_all(jobs) == len(jobs)
        else:
            fits = view.kv.extend_decodes()
        fits = fits and not self.policy.leaves_too_little(step)
        if not fits:
            step.lack = Lack(None, MEMORY, waits=False)
        return fits

    def _share_out(self) -> None:
        """What is left of the budget, in order of rank; who waits starts as long as the head can.

        Prompts under way keep a claim on the memory that they still lack.
        """
        under_way = self._under_way()
        if self._takes_chunkwise():
            self.step.owed = sum(self._owed(job, job.num_computed) for job in under_way)
        queue = iter(self.waiting)
        head = next(queue, None)
        for job in under_way:
            while head and self._overtakes(head, job):
                head = next(queue, None) if self._starts(head) else None
            if not self._continues(job):
                return
        while head and self._starts(head):
            head = next(queue, None)

    def _under_way(self) -> list[JobView]:
        """Prompts under way and paused jobs that may go on, in order of rank."""
        if not self.outside:
            return []
        now, without = self.step.view.now, self.step.without()
        jobs = [job for job in self.outside.values() if job.id not in without]
        return sorted(jobs, key=lambda job: (self.policy.rank(job, now), job.id))

    def _overtakes(self, head: JobView, job: JobView) -> bool:
        now = self.step.view.now
        return not self.policy.finishes_prompts and (
            (self.policy.rank(head, now), head.id) < (self.policy.rank(job, now), job.id)
        )

    def _continues(self, job: JobView) -> bool:
        """Go on with a job outside the cohort; False: it lacks memory."""
        step = self.step
        lacking = job.num_tokens - job.num_computed
        tokens = self._granted(job, lacking)
        if not tokens:
            step.note(self.policy.why_not(job, lacking, step))
            return True
        room = job.num_computed + tokens if self.policy.caches_prefixes else job.num_tokens
        if not step.view.kv.extend(job, room):
            step.lack = Lack(job, MEMORY, waits=False)
            return False
        if step.owed:
            step.owed -= self._owed(job, job.num_computed) - self._owed(job, room)
        step.add(job, tokens)
        return True

    def _starts(self, job: JobView) -> bool:
        """Admit the head of the queue, or say what it lacks."""
        step = self.step
        if gone := step.took_memory:
            step.note(Note(job, AFTER_PREEMPTION, gone.job))
            return False
        kv, alone = step.view.kv, not any(step.running)
        hit = kv.lookup(job) if self.policy.caches_prefixes else ()
        cached = len(hit) * kv.block_size
        tokens = self._granted(job, job.num_tokens - cached)
        if not tokens:
            step.note(self.policy.why_not(job, job.num_tokens - cached, step))
            return False
        if not (alone or self.policy.has_seat(job, step)):
            step.lacks_seat(job)
            return False
        room = cached + tokens if self.policy.caches_prefixes else job.num_tokens
        spare = 0 if alone else self.policy.spare_blocks(job, step) + step.owed
        if not kv.admit(job, room, hit, must_fit=job.num_tokens, spare=spare):
            step.lacks_memory(job, -(-job.num_tokens // kv.block_size) + spare)
            return False
        if self._takes_chunkwise():
            step.owed += self._owed(job, room)
        step.running[job.priority] += 1
        step.admitted.append((job, cached))
        step.add(job, tokens)
        return True

    def _takes_chunkwise(self) -> bool:
        """Whether a prompt takes memory as it goes on, not all of it on admission."""
        return self.policy.caches_prefixes and not self.step.view.kv.reserves

    def _owed(self, job: JobView, tokens: int) -> int:
        """Blocks that the job lacks for all its tokens when it has room for ``tokens``."""
        size = self.step.view.kv.block_size
        return -(-job.num_tokens // size) + -tokens // size

    def _granted(self, job: JobView, wanted: int) -> int:
        """Tokens that the budget and the policy allow; all or none if prompts are not cut."""
        step = self.step
        tokens = min(wanted, step.budget)
        if tokens > 0 and not step.forced:
            tokens = self.policy.grant(job, tokens, step)
        return tokens if tokens > 0 and (self.policy.cuts_prompts or tokens == wanted) else 0
