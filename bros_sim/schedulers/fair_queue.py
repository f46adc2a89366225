"""Waiting requests in a line for each client; next is the client that has been served least."""

from bisect import insort
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.queues import Rank, RankedQueue


def _by_arrival(seq: SequenceView) -> int:
    return seq.id


@dataclass(slots=True)
class _Account:
    """One client's virtual token counter, and its line.

    Tokens are counted as integers: however iterations are grouped, the counter is the same.
    """

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
    _accounts: dict[str, _Account] = field(init=False, default_factory=dict)
    _arrived: list[SequenceView] = field(init=False, default_factory=list)
    _started: set[int] = field(init=False, default_factory=set)
    _last: str = field(init=False, default="")

    def __len__(self) -> int:
        return sum(len(account.line) for account in self._accounts.values()) + len(self._arrived)

    def __iter__(self) -> Iterator[SequenceView]:
        """Requests in the order of service, if nobody generates a token meanwhile."""
        lines = {client: iter(account.line) for client, account in self._accounts.items()}
        heads = {client: seq for client, line in lines.items() if (seq := next(line, None))}
        ahead = dict.fromkeys(self._accounts, 0)
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
        account = self._accounts[client]
        prompt_tokens = account.prompt_tokens + more_prompt_tokens
        served = self.input_weight * prompt_tokens + self.output_weight * account.output_tokens
        return account.lifted + served

    @property
    def clients_waiting(self) -> int:
        """Clients of which somebody waits."""
        return sum(bool(account.line) for account in self._accounts.values())

    def push(self, seq: SequenceView, rank: Rank) -> None:
        """An arrival is looked at in `take_in`; who was preempted stands in line at once."""
        if seq.id in self._started:
            insort(self._accounts[self.client_of(seq)].line, seq, key=_by_arrival)
        else:
            self._arrived.append(seq)

    def pop(self) -> SequenceView:
        """Take the first request out; its client pays for the prompt, once."""
        seq = next(iter(self))
        self._last = self.client_of(seq)
        account = self._accounts[self._last]
        account.line.remove(seq)
        account.prompt_tokens += self._to_charge(seq)
        self._started.add(seq.id)
        return seq

    def take_in(self) -> None:
        """Put arrivals in line; a client that had nobody waiting makes up for its absence."""
        for seq in self._arrived:
            client = self.client_of(seq)
            account = self._accounts.setdefault(client, _Account())
            if not account.line:
                self._lift(client, account)
            account.line.append(seq)
        self._arrived.clear()

    def charge(self, tokens: Mapping[str, int]) -> None:
        """Clients got so many output tokens."""
        for client, count in tokens.items():
            self._accounts[client].output_tokens += count

    def forget(self, seq: SequenceView) -> None:
        """The request is done."""
        self._started.discard(seq.id)

    def _to_charge(self, seq: SequenceView) -> int:
        return 0 if seq.id in self._started else seq.prompt_tokens

    def _lift(self, client: str, account: _Account) -> None:
        """At least the least counter of those who wait, else of who was admitted last."""
        others = [name for name, other in self._accounts.items() if other.line]
        if not others and self._last:
            others = [self._last]
        if others:
            least = min(map(self.counter, others))
            account.lifted += max(0.0, least - self.counter(client))
