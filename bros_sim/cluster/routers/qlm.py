"""QLM: queue management at the router, by request groups and estimated waits."""

import math
from collections import abc, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from annotated_doc import Doc
from annotated_types import Ge, Gt

from bros_sim.cluster.routers.base import EngineLoad, RouterParameters
from bros_sim.core.request import Request, Slo
from bros_sim.core.world import Fidelity, World
from bros_sim.engine.sequence import SequenceView


@dataclass
class _Group:
    """Requests of one SLO that wait for one engine, first come, first served."""

    slo: Slo
    engine: int
    joined: int = 0
    seqs: deque[SequenceView] = field(default_factory=deque)

    @property
    def deadline_s(self) -> float:
        """When its oldest request is due: its first token, or its last where only that is bound."""
        oldest = self.seqs[0]
        first_s = self.slo.deadline(oldest.arrival_s, 1)
        return self.slo.last_deadline(oldest.arrival_s) if math.isinf(first_s) else first_s


@dataclass(frozen=True)
class QlmLikeParameters(RouterParameters):
    """QLM: groups of equal SLO wait at the router, earliest deadline first once one is in danger.

    After QLM (arXiv 2407.00047, SoCC 2024) and its released code: a request joins the open group of
    its SLO, or a new one at the end of a replica's virtual queue. A replica pulls from the head of
    its queue while it has room: the prompt and all that waits in the engine fit into its free KV
    slots, and no more than ``pull_tokens`` wait. When a request joins, and before a pull, the
    estimator adds up, group by group, requests x ``output_tokens`` / ``tokens_per_s``; if a group
    would be done past its deadline, the queue is sorted by deadline, else it stays as it is.

    As the code has it: the estimate, the check, the sort, and that requests are pulled, not pushed.
    Simplified or inferred: a new group goes to the replica with the shortest estimated wait (the
    code draws one at random; the paper solves a linear program, which is left out); SLOs are
    grouped by equality instead of by steps of 100 s; ``group_size``; what room is (the paper fills
    the running batch, the code bounds the requests of a worker). Left out: eviction of running
    requests for a more urgent group, swaps of models (a cluster serves one), groups that move.
    """

    fidelity: ClassVar[Fidelity] = "like"

    group_size: Annotated[int, Ge(1), Doc("most requests of a group; then a new one opens")] = 16
    pull_tokens: Annotated[
        int, Ge(1), Doc("prompt tokens waiting inside a replica from which it pulls no more")
    ] = 2048
    output_tokens: Annotated[float, Gt(0), Doc("tokens that a request is believed to generate")] = (
        100.0
    )
    tokens_per_s: Annotated[
        float, Gt(0), Doc("tokens that a replica is believed to generate per second")
    ] = 700.0

    @property
    def mirrors(self) -> str:
        return "QLM (arXiv 2407.00047 and its code of 2024), earliest deadline first, one model"

    def make(self, world: World) -> "QlmLike":
        return QlmLike(self)


class QlmLike:
    """The virtual queues of all engines."""

    def __init__(self, parameters: QlmLikeParameters) -> None:
        self._parameters = parameters
        self._queues: defaultdict[int, deque[_Group]] = defaultdict(deque)
        self._open: dict[Slo, _Group] = {}

    def route(self, request: Request, engines: Mapping[int, EngineLoad]) -> int:
        """Where the open group of its SLO is, else where the wait is least."""
        group = self._open.get(request.slo)
        if group is not None and group.engine in engines:
            return group.engine
        return min(engines, key=lambda n: (self._wait_s(n), engines[n].outstanding_tokens))

    def hold(self, seq: SequenceView, engine: int) -> None:
        """It joins the open group of its SLO or opens one."""
        group = self._open.get(seq.slo)
        if group is None or group.engine != engine:
            group = self._open[seq.slo] = _Group(seq.slo, engine)
            self._queues[engine].append(group)
        group.seqs.append(seq)
        group.joined += 1
        if group.joined == self._parameters.group_size:
            del self._open[seq.slo]
        self._reorder(engine, seq.arrival_s)

    def pull(self, engine: int, load: EngineLoad, now: float) -> SequenceView | None:
        """The oldest request of the group at the head."""
        if not self._has_room(engine, load):
            return None  # nor is the queue looked at: in a stretch nothing may change
        self._reorder(engine, now)
        return self._pop(engine) if self._has_room(engine, load) else None

    def _has_room(self, engine: int, load: EngineLoad) -> bool:
        queue = self._queues[engine]
        if not queue or load.waiting_tokens >= self._parameters.pull_tokens:
            return False
        return load.waiting_tokens + queue[0].seqs[0].prompt_tokens <= load.free_tokens

    def _pop(self, engine: int) -> SequenceView:
        """Take the oldest request of the group at the head; a group without any is closed."""
        queue = self._queues[engine]
        group = queue[0]
        seq = group.seqs.popleft()
        if not group.seqs:
            queue.popleft()
            if self._open.get(group.slo) is group:
                del self._open[group.slo]
        return seq

    def _reorder(self, engine: int, now: float) -> None:
        queue = self._queues[engine]
        if self._in_danger(queue, now):
            self._queues[engine] = deque(sorted(queue, key=lambda group: group.deadline_s))

    def _in_danger(self, queue: abc.Sequence[_Group], now: float) -> bool:
        """Whether some group of the queue is estimated to be served after its deadline."""
        done_s = now
        for group in queue:
            done_s += self._service_s(group)
            if done_s > group.deadline_s:
                return True
        return False

    def _wait_s(self, engine: int) -> float:
        """Estimated seconds until a new group at the end of the queue would be reached."""
        return sum(self._service_s(group) for group in self._queues[engine])

    def _service_s(self, group: _Group) -> float:
        rules = self._parameters
        return len(group.seqs) * rules.output_tokens / rules.tokens_per_s
