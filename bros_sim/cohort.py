"""The decode cohort of a replica: jobs that decode one token in every iteration."""

import heapq

from bros_sim.job import Job


class DecodeCohort:
    """The jobs that decode one token in every iteration, and their running totals.

    Nothing here is touched per token: members derive their progress from ``iteration``.
    """

    def __init__(self) -> None:
        self.iteration = 0
        self.last_end_s = 0.0
        self.size = 0
        self.kv_tokens = [0, 0]
        """Tokens the members attend to in the next iteration, by class."""
        self.members = [0, 0]
        self._finish: list[tuple[int, int, Job]] = []
        self._longest: list[tuple[int, int, Job]] = []
        self._joins = 0

    def add(self, job: Job) -> None:
        """A job starts to decode; it finishes after as many iterations as it lacks tokens."""
        job.finish_iteration = self.iteration + job.target_output - job.num_output
        self._joins += 1
        heapq.heappush(self._finish, (job.finish_iteration, self._joins, job))
        self.size += 1
        self.members[job.priority] += 1
        self.kv_tokens[job.priority] += job.num_tokens
        heapq.heappush(self._longest, (self.iteration - job.num_tokens, self._joins, job))
        job.join(self)

    def remove(self, job: Job) -> None:
        """A job finishes, is preempted or paused."""
        self.size -= 1
        self.members[job.priority] -= 1
        self.kv_tokens[job.priority] -= job.num_tokens
        job.leave()
        job.finish_iteration = -1

    def advance(self, iterations: int, end_s: float) -> None:
        """Every member decodes ``iterations`` tokens, the last of them at ``end_s``."""
        self.iteration += iterations
        self.last_end_s = end_s
        self.kv_tokens[0] += iterations * self.members[0]
        self.kv_tokens[1] += iterations * self.members[1]

    def iterations_to_finish(self) -> int:
        """Iterations until the first member finishes; 0 when there is none."""
        heap = self._finish
        while heap and heap[0][2].finish_iteration != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] - self.iteration if heap else 0

    def longest_kv(self) -> int:
        """Tokens that the longest member attends to in the next iteration; 0 when there is none.

        Members grow alike, so who is longest changes only when one comes or goes.
        """
        heap = self._longest
        while heap and not self._is_current(*heap[0]):
            heapq.heappop(heap)
        return self.iteration - heap[0][0] if heap else 0

    def _is_current(self, lead: int, _: int, job: Job) -> bool:
        return job.decoding and self.iteration - lead == job.num_tokens

    def pop_finished(self) -> list[Job]:
        """Members that have all their tokens, each once.

        One that left and joined again may be in the heap twice, with the same iteration: while
        the cohort stalled, it can have got ahead by a token.
        """
        done = []
        while self._finish and self._finish[0][0] <= self.iteration:
            at, _, job = heapq.heappop(self._finish)
            if job.finish_iteration == at:
                job.finish_iteration = -1
                done.append(job)
        return done
