"""The decode cohort of a replica: requests that decode one token in every iteration."""

import heapq

from bros_sim.engine.sequence import Sequence


class DecodeCohort:
    """The requests that decode one token in every iteration, and their running totals.

    Nothing here is touched per token: members derive their progress from ``iteration``.
    """

    def __init__(self) -> None:
        self.iteration = 0
        self.last_end_s = 0.0
        self.size = 0
        self.kv_tokens = [0, 0]
        """Tokens the members attend to in the next iteration, by class."""
        self.members = [0, 0]
        self._finish: list[int] = []
        """Iterations at which members may finish, a heap; who they are is in ``_finishing``."""
        self._finishing: dict[int, list[Sequence]] = {}
        self.track_longest = False
        """Whether anyone asks for `longest_kv`."""
        self._longest: list[tuple[int, int, Sequence]] = []
        self._joins = 0

    def add(self, seq: Sequence) -> None:
        """A request starts to decode; it finishes after as many iterations as it lacks tokens."""
        output = seq.num_output
        at = seq.finish_iteration = self.iteration + seq.target_output - output
        if at in self._finishing:
            self._finishing[at].append(seq)
        else:
            self._finishing[at] = [seq]
            heapq.heappush(self._finish, at)
        self.size += 1
        self.members[seq.priority] += 1
        self.kv_tokens[seq.priority] += seq.prompt_tokens + output
        if self.track_longest:
            self._joins += 1
            lead = self.iteration - seq.prompt_tokens - output
            heapq.heappush(self._longest, (lead, self._joins, seq))
        seq.join(self)

    def remove(self, seq: Sequence) -> None:
        """A request finishes, is preempted or paused."""
        self.size -= 1
        self.members[seq.priority] -= 1
        self.kv_tokens[seq.priority] -= seq.leave()
        seq.finish_iteration = -1

    def advance(self, iterations: int, end_s: float) -> None:
        """Every member decodes ``iterations`` tokens, the last of them at ``end_s``."""
        self.iteration += iterations
        self.last_end_s = end_s
        self.kv_tokens[0] += iterations * self.members[0]
        self.kv_tokens[1] += iterations * self.members[1]

    def iterations_to_finish(self) -> int:
        """Iterations until the first member finishes; 0 when there is none."""
        while self._finish:
            at = self._finish[0]
            if any(seq.finish_iteration == at for seq in self._finishing[at]):
                return at - self.iteration
            del self._finishing[heapq.heappop(self._finish)]
        return 0

    def longest_kv(self) -> int:
        """Tokens that the longest member attends to in the next iteration; 0 when there is none.

        Members grow alike, so who is longest changes only when one comes or goes.
        """
        heap = self._longest
        while heap and not self._is_current(*heap[0]):
            heapq.heappop(heap)
        return self.iteration - heap[0][0] if heap else 0

    def _is_current(self, lead: int, _: int, seq: Sequence) -> bool:
        return seq.decoding and self.iteration - lead == seq.num_tokens

    def pop_finished(self) -> list[Sequence]:
        """Members that have all their tokens, each once.

        One that left and joined again may be listed twice, with the same iteration: while the
        cohort stalled, it can have got ahead by a token. Who left for good is listed still.
        """
        done = []
        while self._finish and self._finish[0] <= self.iteration:
            at = heapq.heappop(self._finish)
            for seq in self._finishing.pop(at):
                if seq.finish_iteration == at:
                    seq.finish_iteration = -1
                    done.append(seq)
        return done
