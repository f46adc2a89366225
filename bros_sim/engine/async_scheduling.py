"""Asynchronous scheduling: what an engine that plans one iteration ahead does not know yet."""

from dataclasses import dataclass, field

from bros_sim.engine.kv_cache import KVManager
from bros_sim.engine.scheduler import Scheduler
from bros_sim.engine.sequence import Sequence


@dataclass
class OneStepLag:
    """vLLM's asynchronous scheduling (``EngineCore.step_with_batch_queue``, ``AsyncScheduler``).

    The engine plans an iteration while the one before it computes. Planning it when that one ends,
    with the knowledge of its start, is the same: a plan sees the requests that had arrived by then,
    and a request that finishes in the iteration before keeps its seat and its blocks for one more,
    in which it computes nothing (vLLM knows from the request's cap that no token is left).
    """

    scheduler: Scheduler
    kv: KVManager
    _unseen: list[Sequence] = field(init=False, default_factory=list)
    _holding: list[Sequence] = field(init=False, default_factory=list)

    @property
    def seats(self) -> int:
        """Seats that finished requests still hold."""
        return len(self._holding)

    @property
    def pending(self) -> bool:
        """Whether the next plan will know more than this one."""
        return bool(self._unseen or self._holding)

    def arrive(self, seq: Sequence) -> None:
        """A request reaches the engine; no plan knows it yet."""
        self._unseen.append(seq)

    def reveal(self, until_s: float) -> bool:
        """The engine looked at its input at ``until_s``; whether it found anything."""
        seen = [seq for seq in self._unseen if seq.arrival_s <= until_s]
        self._unseen = self._unseen[len(seen) :]
        for seq in seen:
            self.scheduler.submit(seq)
        return bool(seen)

    def hold(self, seq: Sequence) -> None:
        """A request finished; its memory is free once the iteration under way has ended."""
        if seq.decoding:
            self.kv.leave(seq)
        self._holding.append(seq)

    def let_go(self) -> bool:
        """The engine knows by now who finished; whether anybody did."""
        done, self._holding = self._holding, []
        for seq in done:
            self.kv.release(seq, resumable=False)
        return bool(done)
