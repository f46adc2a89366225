"""Who runs on an engine, and who of them decodes a token in every iteration."""

import heapq
from collections.abc import Iterable, Iterator

from bros_sim.core.request import ServiceClass
from bros_sim.engine.kv_cache import Copy, Direction
from bros_sim.engine.scheduler import Plan
from bros_sim.engine.sequence import Cohort, Sequence, SequenceView

RT = ServiceClass.RT


class Batch:
    """The sequences that run, in order of admission.

    Each is a member of the decode cohort or outside it: a prompt under way, or paused. Policies see
    this one ledger of who runs as `ReplicaView.batch`.
    """

    def __init__(self, *, track_longest: bool) -> None:
        self.cohort = DecodeCohort(track_longest=track_longest)
        self.outside: dict[int, Sequence] = {}
        """Sequences outside the cohort, in the order in which they came to be there."""
        self.members: dict[int, Sequence] = {}
        self.by_class = [0, 0]
        """How many run: real-time, best-effort."""
        self._admissions = 0

    def __len__(self) -> int:
        return len(self.members)

    def __contains__(self, seq: SequenceView) -> bool:
        return seq.id in self.members

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self.members.values())

    @property
    def last(self) -> Sequence | None:
        """The one admitted last."""
        return next(reversed(self.members.values()), None)

    def admit(self, seq: Sequence) -> None:
        """A sequence starts to run, outside the cohort."""
        seq.admit_order = self._admissions
        self._admissions += 1
        self.members[seq.id] = self.outside[seq.id] = seq
        self.by_class[seq.priority] += 1

    def remove(self, seq: Sequence) -> None:
        """A sequence finishes, is preempted or leaves."""
        del self.members[seq.id]
        self.by_class[seq.priority] -= 1
        if seq.decoding:
            self.cohort.remove(seq)
        else:
            del self.outside[seq.id]

    def join(self, seq: Sequence) -> None:
        """A sequence decodes in every iteration from now on."""
        del self.outside[seq.id]
        self.cohort.add(seq)

    def pause(self, seq: Sequence) -> None:
        """A member of the cohort leaves it and goes on running."""
        self.cohort.remove(seq)
        self.outside[seq.id] = seq

    def computed_by_class(self) -> list[int]:
        """Tokens in the cache of those that run, a shared prefix counted for each of them."""
        known, members = self.cohort.kv_tokens, self.cohort.members
        tokens = [a - b for a, b in zip(known, members, strict=True)]
        for seq in self.outside.values():
            tokens[seq.priority] += seq.num_computed
        return tokens

    def attended(self, plan: Plan) -> tuple[int, int, int]:
        """RT decodes of an iteration, and the tokens in the cache at its end: all, RT."""
        members = [0, 0] if plan.stalls else self.cohort.members
        kv_tokens = [a + b for a, b in zip(self.computed_by_class(), members, strict=True)]
        decodes = members[RT.priority]
        for view, tokens in plan.chunks:
            kv_tokens[view.priority] += tokens
            decodes += view.service_class is RT and tokens == 1
        return decodes, sum(kv_tokens), kv_tokens[RT.priority]

    def copied(self, copies: Iterable[Copy]) -> dict[Direction, int]:
        """Tokens to copy for the plan just committed, noted with the sequences they belong to."""
        copied: dict[Direction, int] = {}
        for copy in copies:
            copied[copy.direction] = copied.get(copy.direction, 0) + copy.tokens
            seq = self.members.get(copy.seq.id)
            if seq is None:
                continue  # finished, which an `AsyncEngine` learns late
            if copy.direction is Direction.TO_CPU and copy.blocks:
                seq.swapped_blocks += copy.blocks
            elif copy.direction is Direction.TO_CPU:
                seq.checkpointed_slots += copy.tokens
        return copied


class DecodeCohort(Cohort):
    """The requests that decode one token in every iteration; they derive theirs from its clock."""

    def __init__(self, *, track_longest: bool) -> None:
        super().__init__()
        self.size = 0
        self.kv_tokens = [0, 0]
        """Tokens the members attend to in the next iteration, by class."""
        self.members = [0, 0]
        self._finish: list[int] = []
        """Iterations at which members may finish, a heap; who they are is in ``_finishing``."""
        self._finishing: dict[int, list[Sequence]] = {}
        self._track_longest = track_longest
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
        if self._track_longest:
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
        """Tokens that the longest member attends to in the next iteration; 0 when there is none."""
        heap = self._longest
        while heap and not self._is_current(*heap[0]):
            heapq.heappop(heap)
        return self.iteration - heap[0][0] if heap else 0

    def _is_current(self, lead: int, _: int, seq: Sequence) -> bool:
        return seq.decoding and self.iteration - lead == seq.num_tokens

    def pop_finished(self) -> list[Sequence]:
        """Members that have all their tokens, each once.

        Listed may be, too, who left, and one twice that left and joined again while others stalled.
        """
        done = []
        while self._finish and self._finish[0] <= self.iteration:
            at = heapq.heappop(self._finish)
            for seq in self._finishing.pop(at):
                if seq.finish_iteration == at:
                    seq.finish_iteration = -1
                    done.append(seq)
        return done
