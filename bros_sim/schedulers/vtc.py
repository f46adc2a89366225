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

from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Annotated, Literal

from annotated_doc import Doc
from annotated_types import Ge

from bros_sim.engine.scheduler import UNTIL_EVENT, Plan, ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.ordered.policy import Rank, RankedQueue, completed
from bros_sim.schedulers.ordered.scheduler import OrderedParameters, OrderedScheduler


@dataclass(slots=True)
class _Account:
    """One client's line and virtual token counter, in integers: grouped iterations are alike."""

    prompt_tokens: int = 0
    output_tokens: int = 0
    lifted: float = 0.0
    line: list[SequenceView] = field(default_factory=list)


@dataclass
class FairQueue(RankedQueue):
    """Virtual token counters (arXiv 2401.00588v2, Algorithm 2). Ranks are not asked for."""

    client_of: Callable[[SequenceView], str]
    input_weight: float
    output_weight: float
    accounts: dict[str, _Account] = field(default_factory=lambda: defaultdict(_Account))
    _arrived: list[SequenceView] = field(default_factory=list)
    started: set[int] = field(default_factory=set)
    _last: str = ""

    def __len__(self) -> int:
        return sum(len(account.line) for account in self.accounts.values()) + len(self._arrived)

    def __iter__(self) -> Iterator[SequenceView]:
        """Requests in the order of service, if nobody generates a token meanwhile."""
        lines = {client: iter(account.line) for client, account in self.accounts.items()}
        heads = {client: seq for client, line in lines.items() if (seq := next(line, None))}
        ahead = dict.fromkeys(self.accounts, 0)
        while heads:
            client = min(heads, key=lambda name: (self.counter(name, ahead[name]), heads[name].id))
            seq = heads.pop(client)
            yield seq
            ahead[client] += self._to_charge(seq)
            if following := next(lines[client], None):
                heads[client] = following
        yield from self._arrived

    def counter(self, client: str, more_prompt_tokens: int = 0) -> float:
        """What the client has been served, in weighted tokens, lifts included."""
        account = self.accounts[client]
        prompt = self.input_weight * (account.prompt_tokens + more_prompt_tokens)
        return account.lifted + (prompt + self.output_weight * account.output_tokens)

    def push(self, seq: SequenceView, rank: Rank) -> None:
        """An arrival is looked at in `take_in`; who was preempted stands in line at once."""
        if seq.id in self.started:
            insort(self.accounts[self.client_of(seq)].line, seq, key=attrgetter("id"))
        else:
            self._arrived.append(seq)

    def pop(self) -> SequenceView:
        seq = next(iter(self))
        self._last = self.client_of(seq)
        account = self.accounts[self._last]
        account.line.remove(seq)
        account.prompt_tokens += self._to_charge(seq)
        self.started.add(seq.id)
        return seq

    def take_in(self) -> None:
        """Put arrivals in line; a client that had nobody waiting makes up for its absence."""
        for seq in self._arrived:
            client = self.client_of(seq)
            line = self.accounts[client].line
            if not line:
                self._lift(client)
            line.append(seq)
        self._arrived.clear()

    def charge(self, tokens: Mapping[str, int]) -> None:
        """Clients got so many output tokens."""
        for client, count in tokens.items():
            self.accounts[client].output_tokens += count

    def _to_charge(self, seq: SequenceView) -> int:
        return 0 if seq.id in self.started else seq.prompt_tokens

    def _lift(self, client: str) -> None:
        """At least the least counter of those who wait, else of who was admitted last."""
        others = [name for name, other in self.accounts.items() if other.line]
        others = others or [self._last or client]
        lack = min(map(self.counter, others)) - self.counter(client)
        self.accounts[client].lifted += max(0.0, lack)


class VtcScheduler(OrderedScheduler):
    """The loop with a `FairQueue`, charged in bulk; of those who run the latest gives way."""

    parameters: "VtcParameters"
    finishes_prompts = True
    _waiting: FairQueue

    def __init__(self, parameters: "VtcParameters") -> None:
        super().__init__(parameters)
        self._decoding: Counter[str] = Counter()
        """Requests of each client that get a token in every iteration of the last plan."""
        self._iteration = 0
        self._ahead: dict[int, int] = {}
        """Of each of those requests, the output tokens that are paid, less the iteration number."""
        self._waiting = FairQueue(self._client, parameters.input_weight, parameters.output_weight)

    def lasts(self, view: ReplicaView) -> int:
        """With several clients in line, every token may change who is next."""
        clients = sum(bool(account.line) for account in self._waiting.accounts.values())
        return 1 if clients > 1 else UNTIL_EVENT

    def finished(self, seq: SequenceView) -> None:
        self._drop(seq)
        self._waiting.started.discard(seq.id)
        super().finished(seq)

    def begin(self, view: ReplicaView) -> None:
        iterations = len(view.last_durations_s)
        self._iteration += iterations
        self._waiting.charge({name: seqs * iterations for name, seqs in self._decoding.items()})
        self._waiting.take_in()

    def settle(self, plan: Plan, view: ReplicaView) -> None:
        for seq in plan.evicted:
            self._drop(seq)
        for seq in completed(plan):
            self._ahead[seq.id] = seq.num_output - self._iteration
            self._decoding[self._client(seq)] += 1

    def _client(self, seq: SequenceView) -> str:
        return seq.stream if self.parameters.clients == "stream" else seq.service_class

    def _drop(self, seq: SequenceView) -> None:
        """It gets no more tokens; what it got since the last plan is paid now."""
        if (ahead := self._ahead.pop(seq.id, None)) is not None:
            client = self._client(seq)
            self._decoding[client] -= 1
            self._waiting.charge({client: seq.num_output - (ahead + self._iteration)})


@dataclass(frozen=True)
class VtcParameters(OrderedParameters):
    """Virtual Token Counter: the client that has been served least is next."""

    makes = VtcScheduler
    fidelity = "simplified"

    clients: Annotated[Literal["stream", "class"], Doc("who is a client")] = "stream"
    input_weight: Annotated[float, Ge(0), Doc("price of a prompt token")] = 1.0
    output_weight: Annotated[float, Ge(0), Doc("price of an output token")] = 2.0

    @property
    def mirrors(self) -> str:
        return f"VTC (arXiv 2401.00588v2), clients by {self.clients}; simplified: chunked prefill"
