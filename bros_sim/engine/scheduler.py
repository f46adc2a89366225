"""Contract of the schedulers: once per iteration a policy answers with a `Plan`."""

import sys
from collections import abc
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from bros_sim.engine.estimate import Estimate
from bros_sim.engine.kv_cache import KVManager
from bros_sim.engine.reasons import Note
from bros_sim.engine.sequence import SequenceView

UNTIL_EVENT = sys.maxsize
"""`Plan.repeat` of a policy that would answer the same until something happens."""


class Plan(NamedTuple):
    """What the next iteration computes; KV changes are in the draft that `plan` wrote into.

    It names the exceptions, not the rule: every member of the decode cohort that is neither
    evicted nor paused decodes one token.
    """

    chunks: tuple[tuple[SequenceView, int], ...] = ()
    """Requests outside the cohort and the tokens each of them computes, in scheduling order."""
    admitted: tuple[tuple[SequenceView, int], ...] = ()
    """Who starts to run, in order, and how many of their tokens the cache holds."""
    evicted: tuple[SequenceView, ...] = ()
    """Running requests that lose their KV and wait again (recompute), in order."""
    paused: tuple[SequenceView, ...] = ()
    """Cohort members that keep their KV but compute nothing: they leave the cohort."""
    repeat: int = 1
    """Iterations for which the answer stays the same unless something arrives, finishes, or
    memory runs short; more than 1 only when the cohort alone computes."""
    stalls: bool = False
    """Whether the whole cohort computes nothing in this iteration, which runs prompts only, and yet
    stays together. Costs nothing per member, unlike ``paused``; the draft extends no member."""
    notes: tuple[Note, ...] = ()
    """Why requests were kept from running, at most one note for each; only if the view asks."""


class BatchView(Protocol):
    """What a policy sees of those that run, in order of admission, until its plan is applied."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[SequenceView]: ...
    def __contains__(self, seq: SequenceView) -> bool: ...

    @property
    def by_class(self) -> abc.Sequence[int]:
        """How many run: real-time, best-effort."""

    @property
    def outside(self) -> Mapping[int, SequenceView]:
        """Those outside the decode cohort by id: prompts under way and paused ones, in order."""

    @property
    def last(self) -> SequenceView | None:
        """The one admitted last."""


class ReplicaView(Protocol):
    """What a policy sees of its replica when it plans an iteration."""

    now: float
    """The instant of planning, in seconds."""
    estimate: Estimate
    """The policy's belief about what an iteration costs."""
    decodes_by_class: abc.Sequence[int]
    """Members of the decode cohort: real-time, best-effort."""
    decode_kv_by_class: abc.Sequence[int]
    """Tokens they attend to in the coming iteration, their new ones included."""
    explain: bool
    """Whether plans are to say why (`Plan.notes`)."""
    kv: KVManager
    """The KV state, with an open draft to write into."""

    @property
    def batch(self) -> BatchView:
        """Who runs."""

    @property
    def num_decodes(self) -> int:
        """Members of the decode cohort."""

    @property
    def last_durations_s(self) -> abc.Sequence[float]:
        """Durations of the iterations since the last plan, also when a pause came after them."""

    @property
    def held_seats(self) -> int:
        """Seats that finished requests still hold (asynchronous scheduling)."""


class Scheduler(Protocol):
    """One policy on one engine. It owns the order of who waits; who runs is in the view's batch."""

    overhead_share: float
    """Share of every iteration that the policy itself takes."""

    def set_true_length(self, seq: SequenceView, output_tokens: int) -> None:
        """The true output length of a request about to be submitted, for bounds by an oracle."""

    def submit(self, seq: SequenceView) -> bool | None:
        """A request arrived; it waits, unless the answer is False: the policy turns it away."""

    def finished(self, seq: SequenceView) -> None:
        """A running request is gone: it has its last token, or was taken to another engine."""

    def plan(self, view: ReplicaView) -> Plan:
        """Decide the next iteration, writing KV changes into the draft of ``view.kv``."""

    def waiting_seqs(self) -> Iterable[SequenceView]:
        """Waiting requests in the order in which the policy would serve them."""
