"""VTC: fair shares by virtual token counters (arXiv 2401.00588v2, section 4; OSDI '24).

Checked against the authors' code (github.com/Ying1123/VTC-artifact, 14c19b7, vtc_req_queue.py).

A client is a stream of the workload, as its API key would tell it, or with ``clients: class`` a
service class: then real-time and best-effort get equal shares while both wait.

Exact (Algorithm 2): next is the earliest request of the client with the least counter; where it
finds no room nobody starts. The counter grows by ``input_weight`` for each prompt token on
admission and by ``output_weight`` for each output token in the iteration that makes it (1 and 2).
A client that had nobody waiting is lifted to the least counter of those who have, or of the client
admitted last if nobody waits (the code does only the first): idle time earns no credit. Nobody
running gives way for fairness.

Simplified, and why:
- Chunked prefill, and memory by the block: where running requests lack a block the latest arrival
  is recomputed, and its client does not pay its prompt twice. The code (S-LoRA, LightLLM) admits
  only what fits with all of max_tokens and never preempts: the KV manager `reserved` does that.
- The first output token is paid as the others are; the code counts those of decode steps only.
- Arrivals are looked at between iterations. Ties go to the earlier request.
- No weighted shares (section 4.3), predicted lengths (4.4) or profiled cost (appendix B.2).
"""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_doc import Doc
from annotated_types import Ge

from bros_sim.core.world import Fidelity, World
from bros_sim.engine.scheduler import UNTIL_EVENT, Plan, ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.fair_queue import FairQueue
from bros_sim.schedulers.ordered.policy import completed
from bros_sim.schedulers.ordered.scheduler import OrderedParameters, OrderedScheduler
from bros_sim.schedulers.queues import Rank


@dataclass(frozen=True)
class VtcParameters(OrderedParameters):
    """Virtual Token Counter: the client that has been served least is next."""

    fidelity: ClassVar[Fidelity] = "simplified"

    clients: Annotated[Literal["stream", "class"], Doc("who is a client")] = "stream"
    input_weight: Annotated[float, Ge(0), Doc("price of a prompt token")] = 1.0
    output_weight: Annotated[float, Ge(0), Doc("price of an output token")] = 2.0

    @property
    def mirrors(self) -> str:
        return f"VTC (arXiv 2401.00588v2), clients by {self.clients}; simplified: chunked prefill"

    def make(self, world: World) -> "VtcScheduler":
        return VtcScheduler(self)


class VtcScheduler(OrderedScheduler):
    """The loop with a `FairQueue`, to which output tokens are charged in bulk."""

    finishes_prompts: ClassVar[bool] = True
    _waiting: FairQueue

    def __init__(self, parameters: VtcParameters) -> None:
        super().__init__(parameters)
        self.clients = parameters.clients
        self._decoding: Counter[str] = Counter()
        """Requests of each client that get a token in every iteration of the last plan."""
        self._iteration = 0
        self._ahead: dict[int, int] = {}
        """Of each of those requests, the output tokens that are paid, less the iteration number."""
        self._waiting = FairQueue(self._client, parameters.input_weight, parameters.output_weight)

    def rank(self, seq: SequenceView, now: float) -> Rank:
        """Of those who run, the latest arrival gives way; who waits is in the `FairQueue`."""
        return (0.0,)

    def lasts(self, view: ReplicaView) -> int:
        """With several clients in line, every token may change who is next."""
        return 1 if self._waiting.clients_waiting > 1 else UNTIL_EVENT

    def finished(self, seq: SequenceView) -> None:
        self._drop(seq)
        self._waiting.forget(seq)
        super().finished(seq)

    def begin(self, view: ReplicaView) -> None:
        """Charge the iterations since the last plan, then look at arrivals."""
        iterations = len(view.last_durations_s)
        self._iteration += iterations
        self._waiting.charge({name: seqs * iterations for name, seqs in self._decoding.items()})
        self._waiting.take_in()

    def settle(self, plan: Plan, view: ReplicaView) -> None:
        """Who gets a token in the planned iteration."""
        for seq in plan.evicted:
            self._drop(seq)
        for seq in completed(plan):
            self._ahead[seq.id] = seq.num_output - self._iteration
            self._decoding[self._client(seq)] += 1

    def _client(self, seq: SequenceView) -> str:
        return seq.stream if self.clients == "stream" else seq.service_class

    def _drop(self, seq: SequenceView) -> None:
        """It gets no more tokens; what it got since the last plan is paid now."""
        if (ahead := self._ahead.pop(seq.id, None)) is not None:
            client = self._client(seq)
            self._decoding[client] -= 1
            self._waiting.charge({client: seq.num_output - (ahead + self._iteration)})
