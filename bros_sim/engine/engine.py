"""An engine: one model instance, at rest at an exact instant between any two calls.

Whoever holds the clock drives it: `catch_up` to an instant, then `submit`, `take`, `crash` or a
look at it; `proceed` at `due`, then `begin`. These are two calls, because at one instant clients
and other engines may still react to what ended before the next plan is made. Copies over the host
link are data (`copies_s`): the link belongs to the clock, which then calls `proceed` late.
"""

import math
from collections import abc

import numpy as np
from numpy.typing import NDArray

from bros_sim.core.errors import LawBroken
from bros_sim.engine.kv_cache import Direction, KvImage
from bros_sim.engine.latency_model import StepShape
from bros_sim.engine.record import SpanEnd
from bros_sim.engine.scheduler import Plan
from bros_sim.engine.sequence import Sequence
from bros_sim.engine.state import EngineState, Refusal
from bros_sim.engine.step_clock import NO_FORWARD, Stretch


class Engine(EngineState):
    """A scheduler, a KV manager and a latency model at work; see `EngineState` for the parts."""

    # -- arrivals and departures ----------------------------------------------------------------

    def submit(self, seq: Sequence, image: KvImage | None = None) -> Refusal | None:
        """A sequence arrives at the instant of the last `catch_up` and waits, unless refused.

        ``image`` is the KV that it brings along. A KV manager that cannot import recomputes it.
        """
        if why := self.refusal(seq.request):
            return self._refuse(seq, why)
        if image is not None:
            self.kv.import_(seq, image)
        if not self._hand_over(seq):
            return self._refuse(seq, Refusal.TURNED_AWAY)
        self._waiting[seq.id] = seq
        self._count_waiting(seq, 1)
        self.outstanding_tokens += seq.prompt_tokens + seq.max_tokens
        self.cut()
        return None

    def take(self, seq: Sequence) -> KvImage:
        """A running sequence leaves with its KV, at the instant of the last `catch_up`.

        What it computes in the iteration under way is lost; a plan follows that iteration. The
        scheduler hears of a finish.

        Raises:
            LawBroken: It does not run here.
        """
        self._settle()
        if seq not in self.batch:
            raise LawBroken(f"request {seq.id} holds no KV in engine {self.id}")
        image = KvImage(seq.num_computed, self.kv.block_size)
        if self._stretch is not None:
            self._stretch.forget(seq)
        self.kv.release(seq, resumable=False)
        self._leave(seq, "taken")
        self.scheduler.finished(seq)
        seq.lose_kv()
        self.cut()
        return image

    def crash(self) -> list[Sequence]:
        """All KV is lost at the instant of the last `catch_up`; who was here. The engine is over.

        Generated tokens are kept, as clients have them.
        """
        self._settle()
        stretch = self._stretch
        if stretch is not None:
            stretch.keep(stretch.ended)
            self._accounts.close(stretch)
        self._stretch, self.due = None, math.inf
        running = list(self.batch)
        for seq in running:
            self.kv.release(seq, resumable=False)
            self._leave(seq, "crashed")
            seq.lose_kv()
        self._rest()
        self.log.engine_down(self.id, self.now)
        gone = running + list(self._waiting.values())
        self._waiting.clear()
        self._waiting_by_class = [0, 0]
        self.waiting_tokens = self.outstanding_tokens = 0
        return gone

    def cut(self) -> None:
        """Plan anew after the iteration under way, whatever was to follow it."""
        stretch = self._stretch
        if stretch is not None:
            stretch.keep(stretch.ended_before(self.now) + 1)
            self.due = stretch.end_s

    def close(self, t: float) -> None:
        """The run ends at ``t``: what is under way stays unfinished."""
        stretch = self._stretch
        if stretch is not None:
            stretch.keep(int(np.searchsorted(stretch.ends_s, t)))
            if len(stretch.ends_s):
                self._end(stretch)
        unfinished = [*self.batch, *self._waiting.values()]
        for seq in sorted(unfinished, key=lambda seq: seq.id):
            self._accounts.close_span(seq, "unfinished")
            if seq in self.batch:
                self.batch.remove(seq)
            self.log.add_request(seq, self.id, "unfinished")
        self._waiting.clear()

    def _settle(self) -> None:
        stretch = self._stretch
        if stretch is None or stretch.ended + 1 >= len(stretch.ends_s):
            return
        ended = stretch.ended_before(self.now)
        if ended > stretch.ended:
            self._account(stretch, ended)
            if not self.kv.extend_decodes():
                raise LawBroken(f"engine {self.id} lacks memory inside a stretch at {self.now} s")

    def _refuse(self, seq: Sequence, why: Refusal) -> Refusal:
        self.log.add_request(seq, self.id, "rejected", why.value)
        return why

    def _hand_over(self, seq: Sequence) -> bool:
        """Whether the scheduler takes an arrival."""
        self.scheduler.set_true_length(seq, seq.request.output_tokens)
        return self.scheduler.submit(seq) is not False

    def _leave(self, seq: Sequence, why: SpanEnd) -> None:
        self._accounts.close_span(seq, why)
        self.batch.remove(seq)
        self.outstanding_tokens -= seq.prompt_tokens + seq.max_tokens

    def _release(self, seq: Sequence) -> None:
        self.kv.release(seq, resumable=False)

    def _count_waiting(self, seq: Sequence, change: int) -> None:
        self._waiting_by_class[seq.priority] += change
        self.waiting_tokens += change * seq.num_tokens

    # -- iterations -----------------------------------------------------------------------------

    def begin(self, t: float) -> list[Sequence]:
        """Plan and begin what ends at `due`, if anything; whom an `AsyncEngine` turns away now."""
        self.now = t
        if self.batch.members or self._waiting:
            self._begin(t)
        else:
            self._rest()
        return []

    def copies_s(self) -> dict[Direction, float]:
        """Seconds on the host link, by direction, that the iteration under way has to wait for."""
        stretch = self._under_way()
        if not stretch.copied:
            return {}
        if self._link is None:
            raise LawBroken(f"engine {self.id} copies KV but has no link to its host")
        return stretch.copies_s(self._link, self._token_bytes)

    def proceed(self, t: float | None = None) -> list[Sequence]:
        """At `due`, or at ``t`` after copies: what finished, in order of admission."""
        stretch = self._under_way()
        if t is not None and stretch.copied:
            stretch.ends_s = np.array([t])
        self.now = stretch.end_s
        return self._end(stretch)

    def _begin(self, t: float) -> None:
        plan = self._plan()
        self._paused = False
        self.kv.commit()
        copies = self.kv.take_copies()
        self._accounts.decide(plan, copies, t)
        self._apply(plan)
        shape = self._clock.shape(plan, self.batch)
        idle = not shape.chunks and not shape.decode_jobs
        if idle and not plan.evicted:
            self._nothing_to_compute()
            return
        ends = t + (NO_FORWARD if idle else self._durations(plan, shape))
        self._stretch = Stretch(plan, t, ends, shape, self._state(plan), self.batch.copied(copies))
        self.due = self._stretch.end_s

    def _nothing_to_compute(self) -> None:
        if here := len(self.batch) + len(self._waiting):
            raise LawBroken(f"L7: empty plan at {self.now} s with {here} requests waiting")
        self._rest()

    def _rest(self) -> None:
        self._paused = True

    def _plan(self) -> Plan:
        return self.scheduler.plan(self)

    def _end(self, stretch: Stretch) -> list[Sequence]:
        """All of a stretch has ended: advance its sequences; those that finished."""
        self._stretch, self._last, self.due = None, stretch, math.inf
        self._account(stretch, len(stretch.ends_s))
        self._accounts.close(stretch)
        done = self.batch.cohort.pop_finished()
        if stretch.plan.chunks:
            done += self._compute(stretch.plan, stretch.end_s)
        if len(done) > 1:
            done.sort(key=lambda seq: seq.admit_order)
        self._finish(done)
        return done

    def _account(self, stretch: Stretch, ended: int) -> None:
        """Advance the cohort to where so many iterations of the stretch have ended."""
        iterations = ended - stretch.ended
        if not iterations:
            return
        self._accounts.end_iterations(stretch, ended)
        if stretch.plan.stalls:
            iterations = 0
        else:
            self.batch.cohort.advance(iterations, float(stretch.ends_s[ended - 1]))
        self.kv.advance(iterations)

    def _compute(self, plan: Plan, now: float) -> list[Sequence]:
        """Advance the sequences outside the cohort; those that finished."""
        done: list[Sequence] = []
        iteration = self._accounts.iterations - 1
        for view, tokens in plan.chunks:
            seq = self.batch.members[view.id]
            if not seq.run(tokens, now):
                continue
            if seq.span_start is None:
                seq.span_start = iteration
            if seq.num_output == seq.target_output:
                done.append(seq)
                continue
            self.kv.join(seq)
            self.batch.join(seq)
        return done

    def _finish(self, done: abc.Sequence[Sequence]) -> None:
        for seq in done:
            self._release(seq)
            self._leave(seq, "finished")
            self.scheduler.finished(seq)
            self.log.add_request(seq, self.id, "completed")

    def _under_way(self) -> Stretch:
        if self._stretch is None:
            raise LawBroken(f"no iteration under way in engine {self.id}")
        return self._stretch

    # -- applying a plan ------------------------------------------------------------------------

    def _apply(self, plan: Plan) -> None:
        for view in plan.evicted:
            seq = self.batch.members[view.id]
            self._accounts.close_span(seq, "preempted")
            self.batch.remove(seq)
            seq.drop_kv()
            self._waiting[seq.id] = seq
            self._count_waiting(seq, 1)
        for view in plan.paused:
            seq = self.batch.members[view.id]
            self.kv.leave(seq)
            self._accounts.close_span(seq, "paused")
            self.batch.pause(seq)
        for view, cached in plan.admitted:
            self._admit(self._waiting.pop(view.id), cached)

    def _admit(self, seq: Sequence, cached: int) -> None:
        self._count_waiting(seq, -1)
        if seq.first_scheduled_s is None:
            seq.first_scheduled_s = self.now
            seq.cached_tokens = cached
        seq.hit(cached)
        self.batch.admit(seq)

    def _durations(self, plan: Plan, shape: StepShape) -> NDArray[np.float64]:
        """Cumulated durations of the iterations that can run before anything changes."""
        repeat = self._repeat(plan)
        if repeat > 1:
            until_finish = self.batch.cohort.iterations_to_finish()
            repeat = min(repeat, until_finish, 1 + self.kv.spare_iterations())
        return self._clock.ends_s(shape, self._accounts.iterations, repeat)

    def _state(self, plan: Plan) -> tuple[int, ...]:
        """What the steps table says of batch, memory and queue."""
        attended = self.batch.attended(plan)
        return (*attended, self.kv.free_blocks, *self.batch.by_class, *self._waiting_by_class)

    def _repeat(self, plan: Plan) -> int:
        """For how many iterations the engine goes by the plan, finishes and memory aside."""
        return min(plan.repeat, self._longest_stretch)
