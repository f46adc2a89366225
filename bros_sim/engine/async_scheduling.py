"""Asynchronous scheduling: an engine that plans one iteration ahead of what it knows."""

from collections import abc

from bros_sim.engine.engine import Engine
from bros_sim.engine.scheduler import Plan
from bros_sim.engine.sequence import Sequence
from bros_sim.engine.state import Refusal


class AsyncEngine(Engine):
    """vLLM's asynchronous scheduling (``EngineCore.step_with_batch_queue``, ``AsyncScheduler``).

    Planning an iteration while the one before computes is planning it when that one ends with what
    was known at its start: a plan sees those that had arrived by then, and who finishes in the
    iteration before keeps seat and blocks for one more, in which it computes nothing (vLLM knows
    from the request's cap that no token is left).
    """

    def begin(self, t: float) -> list[Sequence]:
        """See `Engine.begin`; the scheduler hears now of those that came before it planned."""
        last = self._last
        self._reveal(t if self._paused or last is None else last.last_start_s)
        super().begin(t)
        refused, self._refused = self._refused, []
        return refused

    def _hand_over(self, seq: Sequence) -> bool:
        self._unseen.append(seq)
        return True

    def _reveal(self, until_s: float) -> None:
        seen = [seq for seq in self._unseen if seq.queued_s <= until_s]
        self._unseen = self._unseen[len(seen) :]
        for seq in seen:
            if not super()._hand_over(seq):
                self._turn_away(seq)

    def _turn_away(self, seq: Sequence) -> None:
        del self._waiting[seq.id]
        self._count_waiting(seq, -1)
        self.outstanding_tokens -= seq.prompt_tokens + seq.max_tokens
        self._refuse(seq, Refusal.TURNED_AWAY)
        self._refused.append(seq)

    def _plan(self) -> Plan:
        plan = super()._plan()
        idle = not (self.num_decodes or plan.chunks or plan.evicted)
        if idle and (self._unseen or self._held):
            # Nothing to run ahead of: the engine waits for the iteration under way, then plans.
            self._rest()
            self._reveal(self.now)
            plan = super()._plan()
        return plan

    def _nothing_to_compute(self) -> None:
        if not (self._unseen or self._held):
            super()._nothing_to_compute()
            return
        # The plan only pauses, because finished sequences hold the memory: wait, then plan, too.
        self._rest()
        self._reveal(self.now)
        self._begin(self.now)

    def _repeat(self, plan: Plan) -> int:
        return 1 if self._unseen or self._held else super()._repeat(plan)

    def _finish(self, done: abc.Sequence[Sequence]) -> None:
        self._let_go()
        super()._finish(done)

    def _release(self, seq: Sequence) -> None:
        if seq.decoding:
            self.kv.leave(seq)
        self._held.append(seq)

    def _rest(self) -> None:
        """The engine knows by now who finished."""
        super()._rest()
        self._let_go()

    def _let_go(self) -> None:
        done, self._held = self._held, []
        for seq in done:
            self.kv.release(seq, resumable=False)
