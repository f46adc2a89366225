"""What an engine is made of, and what others may see of it."""

import math
from collections import abc
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import chain

from bros_sim.core.request import Request
from bros_sim.engine.batch import Batch
from bros_sim.engine.estimate import Estimate
from bros_sim.engine.kv_cache import KVManager
from bros_sim.engine.latency_model import LatencyModel
from bros_sim.engine.link_parameters import HostLink
from bros_sim.engine.noise import StepNoise
from bros_sim.engine.record import Accounts, RunLog
from bros_sim.engine.scheduler import Plan, Scheduler
from bros_sim.engine.sequence import Sequence
from bros_sim.engine.step_clock import StepClock, Stretch


class Refusal(Enum):
    """Why an engine does not take a request."""

    TOO_LONG = "too long"
    """Prompt and output are longer than the model allows."""
    NEVER_FITS = "never fits"
    """Its KV is more than the engine has."""
    TURNED_AWAY = "turned away"
    """The policy does not take it."""


@dataclass(frozen=True)
class Load:
    """An engine at one instant; pairs are real-time and best-effort."""

    waiting: tuple[int, int]
    running: tuple[int, int]
    kv_tokens: tuple[int, int]
    """Tokens in the cache of those that run, a shared prefix counted for each of them."""
    free_tokens: int
    """KV slots that nobody holds."""
    waiting_tokens: int
    """Known tokens of the requests that wait."""
    outstanding_tokens: int
    """Prompt and ``max_tokens`` of all unfinished requests."""


class EngineState:
    """A scheduler, a KV manager and a latency model, and the sequences that they work on.

    ``max_model_len`` bounds prompt and output together, as in vLLM. ``longest_stretch``, how many
    like iterations are planned at once, bounds memory and changes no result (law L11). ``noise``
    scatters what the latency model says, not what policies believe.
    """

    def __init__(
        self,
        *,
        id: int,  # noqa: A002
        scheduler: Scheduler,
        kv: KVManager,
        latency: LatencyModel,
        log: RunLog,
        max_model_len: int,
        estimate: Estimate,
        link: HostLink | None = None,
        token_bytes: int = 0,
        longest_stretch: int = 4096,
        noise: StepNoise | None = None,
    ) -> None:
        self.id = id
        self.scheduler = scheduler
        self.kv = kv
        self.log = log
        self.max_model_len = max_model_len
        self.estimate = estimate
        self.explain = log.decisions is not None
        """Whether plans are to say why: a decision log is kept."""
        self.now = 0.0
        """The instant at which it is at rest."""
        self.due = math.inf
        """When what is under way ends; nothing visible happens before. Infinite when idle."""
        self.outstanding_tokens = 0
        """Prompt and ``max_tokens`` of all unfinished requests: the load that a router can know."""
        self.waiting_tokens = 0
        """Known tokens of the requests that wait."""
        self._link = link
        self._token_bytes = token_bytes
        # With a decision log every iteration is decided on, and logged, by itself.
        self._longest_stretch = 1 if self.explain else longest_stretch
        self._accounts = Accounts(id, log, latency)
        self._clock = StepClock(latency, scheduler.overhead_share, noise, kv)
        self.batch = Batch(track_longest=latency.reads_longest_kv)
        self.decodes_by_class: abc.Sequence[int] = self.batch.cohort.members
        self.decode_kv_by_class: abc.Sequence[int] = self.batch.cohort.kv_tokens
        self._waiting: dict[int, Sequence] = {}
        self._waiting_by_class = [0, 0]
        self._stretch: Stretch | None = None
        self._last: Stretch | None = None
        self._paused = False
        # Of an `AsyncEngine`:
        self._unseen: list[Sequence] = []
        """Arrivals that no plan knows yet."""
        self._held: list[Sequence] = []
        """Finished sequences whose memory is free once the iteration under way has ended."""
        self._refused: list[Sequence] = []

    @property
    def busy(self) -> bool:
        """Whether an iteration is under way."""
        return self._stretch is not None

    @property
    def plan(self) -> Plan | None:
        """The plan under way."""
        return self._stretch.plan if self._stretch else None

    def catch_up(self, t: float) -> None:
        """Be at rest at ``t``, which is not before the last call and not after `due`.

        All that can be seen then counts the iterations that ended before ``t``; one that ends at
        ``t`` comes after whatever else happens at ``t``. The look itself accounts them, so that
        catching up costs nothing. Neither changes a result (law L13).
        """
        self.now = t

    def _settle(self) -> None:
        """Account the iterations that ended before `now`."""
        raise NotImplementedError

    @property
    def free_tokens(self) -> int:
        """KV slots that nobody holds."""
        self._settle()
        return self.kv.free_blocks * self.kv.block_size

    @property
    def num_decodes(self) -> int:
        """Members of the decode cohort."""
        return self.batch.cohort.size

    @property
    def held_seats(self) -> int:
        """Seats of sequences that have finished, unknown to the scheduler; see `AsyncEngine`."""
        return len(self._held)

    @property
    def last_durations_s(self) -> abc.Sequence[float]:
        """Durations of the iterations since the last plan, also when a pause came after them."""
        return () if self._last is None else self._last.durations_s()

    def holders(self) -> Iterator[Sequence]:
        """The sequences that hold KV, in order of admission; last, those that just finished."""
        self._settle()
        return chain(self.batch, self._held)

    def load(self) -> Load:
        """What a router may know of it."""
        self._settle()
        batch = self.batch
        pairs = (self._waiting_by_class, batch.by_class, batch.computed_by_class())
        waiting, running, kv_tokens = ((rt, be) for rt, be in pairs)
        tokens = self.free_tokens, self.waiting_tokens, self.outstanding_tokens
        return Load(waiting, running, kv_tokens, *tokens)

    def refusal(self, request: Request) -> Refusal | None:
        """Why the request could never finish here (the last token needs no KV slot), if so.

        A ``max_tokens`` beyond what the model has left is no reason: clients clip it to that.
        """
        if request.prompt_tokens + request.output_tokens > self.max_model_len:
            return Refusal.TOO_LONG
        output = request.max_tokens if self.kv.reserves else request.output_tokens
        capacity = self.kv.usable_blocks * self.kv.block_size
        return Refusal.NEVER_FITS if request.prompt_tokens + output - 1 > capacity else None
