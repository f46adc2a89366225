"""A replica: one engine as a state machine without a clock.

``submit`` a request, ``start_step`` at an instant, ``finish_step`` when that step's end has come.
The replica asks its scheduler for a plan, applies it, advances requests, keeps running totals and
writes the log. It knows neither SimPy nor YAML.
"""

from collections import abc
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bros_sim.core.errors import LawBroken
from bros_sim.core.request import Request, ServiceClass
from bros_sim.engine.async_scheduling import OneStepLag
from bros_sim.engine.batch import DecodeCohort
from bros_sim.engine.decisions import decisions_of
from bros_sim.engine.estimate import Estimate
from bros_sim.engine.kv_cache import ChangesCost, Copy, Direction, KVManager
from bros_sim.engine.latency_model import LatencyModel, StepShape, count_extrapolated
from bros_sim.engine.link import HostLink
from bros_sim.engine.noise import StepNoise
from bros_sim.engine.record import RunLog, SpanEnd
from bros_sim.engine.scheduler import Plan, Scheduler
from bros_sim.engine.sequence import Sequence
from bros_sim.engine.step_clock import NO_FORWARD, StepClock, Stretch

RT = ServiceClass.RT


@dataclass
class Replica:
    """One engine: a scheduler, a KV manager and a latency model at work on requests.

    ``max_model_len`` bounds prompt and output together, as in vLLM. ``longest_stretch`` bounds how
    many like iterations are advanced at once: a bound on memory that changes no result (law L11).
    ``async_scheduling`` plans one iteration ahead, as `OneStepLag` says. ``noise`` scatters what
    the latency model says; what policies believe knows nothing of it.
    """

    index: int
    scheduler: Scheduler
    kv: KVManager
    latency: LatencyModel
    log: RunLog
    max_model_len: int
    estimate: Estimate
    link: HostLink | None = None
    token_bytes: int = 0
    longest_stretch: int = 4096
    async_scheduling: bool = False
    noise: StepNoise | None = None
    now: float = field(init=False, default=0.0)
    outstanding_tokens: int = field(init=False, default=0)
    """Prompt and ``max_tokens`` of all unfinished requests: the load that a router can know."""
    waiting_tokens: int = field(init=False, default=0)
    """Known tokens of the requests that wait."""
    _cohort: DecodeCohort = field(init=False, default_factory=DecodeCohort)
    _seqs: dict[int, Sequence] = field(init=False, default_factory=dict)
    _outside: dict[int, Sequence] = field(init=False, default_factory=dict)
    _waiting: list[int] = field(init=False, default_factory=lambda: [0, 0])
    _running: list[int] = field(init=False, default_factory=lambda: [0, 0])
    _admissions: int = field(init=False, default=0)
    _stretch: Stretch | None = field(init=False, default=None)
    _last: Stretch | None = field(init=False, default=None)
    _paused: bool = field(init=False, default=False)
    _clock: StepClock = field(init=False)
    _lag: OneStepLag | None = field(init=False, default=None)
    _cost: ChangesCost | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._clock = StepClock(self.latency, self.scheduler.overhead_share, self.noise)
        self._cohort.track_longest = self._clock.skewed is not None
        if isinstance(self.kv, ChangesCost):
            self._cost = self.kv
        if self.async_scheduling:
            self._lag = OneStepLag(self.scheduler, self.kv)
        if self.explain:
            self.longest_stretch = 1  # every iteration is decided on, and logged, by itself

    @property
    def free_tokens(self) -> int:
        """KV slots that nobody holds; what a stretch under way takes is not yet counted."""
        return self.kv.free_blocks * self.kv.block_size

    @property
    def num_decodes(self) -> int:
        """Members of the decode cohort."""
        return self._cohort.size

    @property
    def decodes_by_class(self) -> abc.Sequence[int]:
        """Members of the decode cohort: real-time, best-effort."""
        return self._cohort.members

    @property
    def decode_kv_by_class(self) -> abc.Sequence[int]:
        """Tokens they attend to in the coming iteration."""
        return self._cohort.kv_tokens

    @property
    def held_seats(self) -> int:
        """Seats that requests hold which have finished, unknown to the engine."""
        return self._lag.seats if self._lag else 0

    @property
    def last_durations_s(self) -> abc.Sequence[float]:
        """Durations of the iterations since the last plan, also when a pause came after them."""
        if self._last is None:
            return ()
        ends: list[float] = self._last.ends_s.tolist()
        return [end - start for start, end in pairwise([self._last.start_s, *ends])]

    @property
    def explain(self) -> bool:
        """Whether plans are to say why: a decision log is kept."""
        return self.log.decisions is not None

    @property
    def busy(self) -> bool:
        """Whether a step is under way."""
        return self._stretch is not None

    @property
    def plan(self) -> Plan | None:
        """The plan under way."""
        return self._stretch.plan if self._stretch else None

    def running_seqs(self) -> Iterable[Sequence]:
        """Requests that hold KV."""
        return (seq for seq in self._seqs.values() if seq.decoding or seq.id in self._outside)

    # -- arrivals -------------------------------------------------------------------------------

    def fits(self, request: Request) -> bool:
        """Whether the request could ever finish here (the last token needs no KV slot)."""
        capacity = self.kv.usable_blocks * self.kv.block_size
        if self.kv.reserves:
            needed = request.prompt_tokens + request.max_tokens - 1
        else:
            needed = min(request.prompt_tokens + request.output_tokens, self.max_model_len) - 1
        return request.prompt_tokens < self.max_model_len and needed <= capacity

    def submit(self, seq: Sequence) -> bool:
        """A request arrives and waits; False: it can never fit, or the policy turns it away."""
        if not self.fits(seq.request) or not self._hand_over(seq):
            self.log.add_request(seq, self.index, "rejected")
            return False
        seq.target_output = min(seq.target_output, self.max_model_len - seq.prompt_tokens)
        self._seqs[seq.id] = seq
        self._count(seq, running=0, waiting=1)
        self.outstanding_tokens += seq.prompt_tokens + seq.max_tokens
        return True

    def _hand_over(self, seq: Sequence) -> bool:
        """Whether the policy takes it; with a lag (vLLM, which takes all) it hears of it later."""
        if self._lag:
            self._lag.arrive(seq)
            return True
        self.scheduler.set_true_length(seq, seq.request.output_tokens)
        return self.scheduler.submit(seq) is not False

    # -- one step -------------------------------------------------------------------------------

    def start_step(self, now: float) -> float | None:
        """Plan and begin the next iteration(s); the instant at which they end, or None if idle."""
        if not self._seqs:
            self._paused = True
            if self._lag and self._lag.let_go():
                self.kv.commit()
            return None
        self.now = now
        plan = self._plan()
        self._paused = False
        self.kv.commit()
        copies = self.kv.take_copies()
        self._log_decisions(plan, copies)
        self._apply(plan)
        shape = self._shape(plan)
        idle = not shape.chunks and not shape.decode_jobs
        if idle and not plan.evicted:
            raise LawBroken(f"L7: empty plan at {now} s with {len(self._seqs)} requests waiting")
        ends = now + (NO_FORWARD if idle else self._durations(plan, shape))
        self._stretch = Stretch(plan, now, ends, shape, self._state(plan), self._copied(copies))
        return float(ends[-1])

    def copies_s(self) -> dict[Direction, float]:
        """Seconds on the host link, by direction, that the step under way has to wait for."""
        stretch = self._under_way()
        if not stretch.copied:
            return {}
        if self.link is None:
            raise LawBroken(f"replica {self.index} copies KV but has no link to its host")
        return stretch.copies_s(self.link, self.token_bytes)

    def cut(self, now: float) -> float | None:
        """Something happened at ``now``: end the stretch with the iteration under way then.

        Returns the new end, or None when that iteration is the last one anyway.
        """
        stretch = self._under_way()
        keep = int(np.searchsorted(stretch.ends_s, now)) + 1
        if keep >= len(stretch.ends_s):
            return None
        stretch.ends_s = stretch.ends_s[:keep]
        return float(stretch.ends_s[-1])

    def finish_step(self, end_s: float | None = None) -> list[Sequence]:
        """The step's end has come: advance all its requests; those that finished, in plan order.

        ``end_s``: when a single iteration really ended, because it waited for copies.
        """
        stretch = self._under_way()
        self._stretch = None
        if end_s is not None and stretch.copied:
            stretch.ends_s = np.array([end_s])
        self._last = stretch
        self._log_stretch(stretch)
        iterations, now = len(stretch.ends_s), float(stretch.ends_s[-1])
        if not stretch.plan.stalls:
            self._cohort.advance(iterations, now)
            self.kv.advance(iterations)
        done = self._cohort.pop_finished()
        done += self._compute(stretch.plan, now)
        done.sort(key=lambda seq: seq.admit_order)
        if self._lag:
            self._lag.let_go()
        for seq in done:
            self._finish(seq)
        self.kv.commit()
        return done

    def close(self, now: float) -> None:
        """The run ends at ``now``: what is under way stays unfinished."""
        if self._stretch is not None:
            self._stretch.ends_s = self._stretch.ends_s[self._stretch.ends_s < now]
            if len(self._stretch.ends_s):
                self.finish_step()
        for seq in self._seqs.values():
            self._close_span(seq, "unfinished")
            if seq.decoding:
                self._cohort.remove(seq)
            self.log.add_request(seq, self.index, "unfinished")
        self._seqs.clear()

    def _plan(self) -> Plan:
        """The scheduler's answer, with what the engine knows."""
        if self._lag is None:
            return self.scheduler.plan(self)
        last = self._last
        self._lag.reveal(self.now if self._paused or last is None else last.last_start_s)
        plan = self.scheduler.plan(self)
        idle = not (self._cohort.size or plan.chunks or plan.evicted)
        if idle and self._lag.pending:
            # Nothing to run ahead of: the engine waits for the iteration under way, then plans.
            self._lag.let_go()
            self._lag.reveal(self.now)
            plan = self.scheduler.plan(self)
        return plan

    # -- applying a plan ------------------------------------------------------------------------

    def _apply(self, plan: Plan) -> None:
        for view in plan.evicted:
            seq = self._seqs[view.id]
            self._leave_cohort(seq)
            self._outside.pop(seq.id, None)
            seq.drop_kv()
            self._count(seq, running=-1, waiting=1)
        for view in plan.paused:
            seq = self._seqs[view.id]
            self.kv.leave(seq)
            self._cohort.remove(seq)
            self._close_span(seq, "paused")
            self._outside[seq.id] = seq
        for view, cached in plan.admitted:
            self._admit(self._seqs[view.id], cached)

    def _admit(self, seq: Sequence, cached: int) -> None:
        if seq.first_scheduled_s is None:
            seq.first_scheduled_s = self.now
            seq.cached_tokens = cached
        seq.hit(cached)
        seq.admit_order = self._admissions
        self._admissions += 1
        self._outside[seq.id] = seq
        self._count(seq, running=1, waiting=-1)

    def _leave_cohort(self, seq: Sequence) -> None:
        if seq.decoding:
            self._cohort.remove(seq)
            self._close_span(seq, "preempted")

    def _count(self, seq: Sequence, *, running: int, waiting: int) -> None:
        self._running[seq.priority] += running
        self._waiting[seq.priority] += waiting
        self.waiting_tokens += waiting * seq.num_tokens

    # -- what the step costs --------------------------------------------------------------------

    def _shape(self, plan: Plan) -> StepShape:
        """A chunk of one token is a decode to the engine's kernels."""
        decodes, kv_tokens = self._cohort.size, sum(self._cohort.kv_tokens)
        if plan.stalls:
            decodes = kv_tokens = 0
        elif self._cost:
            kv_tokens -= self._cost.spared_kv_tokens
        longest = self._cohort.longest_kv() if self._clock.skewed and decodes else 0
        if not plan.chunks:
            return StepShape((), decodes, kv_tokens, longest)
        chunks = [(tokens, seq.num_computed) for seq, tokens in plan.chunks]
        single = [context + 1 for tokens, context in chunks if tokens == 1]
        prefill = tuple(chunk for chunk in chunks if chunk[0] > 1)
        if self._clock.skewed:
            longest = max([longest, *single])
        return StepShape(prefill, decodes + len(single), kv_tokens + sum(single), longest)

    def _durations(self, plan: Plan, shape: StepShape) -> NDArray[np.float64]:
        """Cumulated durations of the iterations that can run before anything changes."""
        repeat = min(plan.repeat, self.longest_stretch)
        if self._lag and self._lag.pending:
            repeat = 1  # the next plan will know more
        if repeat > 1:
            until_finish = self._cohort.iterations_to_finish()
            repeat = min(repeat, until_finish, 1 + self.kv.spare_iterations())
        pace = self._cost.pace if self._cost else 1.0
        return self._clock.ends_s(shape, self.log.iterations(self.index), repeat, pace)

    def _copied(self, copies: Iterable[Copy]) -> dict[Direction, int]:
        """Tokens to copy for the plan just committed, noted with the requests they belong to."""
        copied: dict[Direction, int] = {}
        for copy in copies:
            copied[copy.direction] = copied.get(copy.direction, 0) + copy.tokens
            seq = self._seqs[copy.seq.id]
            if copy.direction is Direction.TO_CPU and copy.blocks:
                seq.swapped_blocks += copy.blocks
            elif copy.direction is Direction.TO_CPU:
                seq.checkpointed_slots += copy.tokens
        return copied

    def _compute(self, plan: Plan, now: float) -> list[Sequence]:
        """Advance the requests outside the cohort; those that finished."""
        done: list[Sequence] = []
        iteration = self.log.iterations(self.index) - 1
        for view, tokens in plan.chunks:
            seq = self._seqs[view.id]
            if not seq.run(tokens, now):
                continue
            if seq.residency_start is None:
                seq.residency_start = iteration
            if seq.num_output == seq.target_output:
                done.append(seq)
                continue
            del self._outside[seq.id]
            self.kv.join(seq)
            self._cohort.add(seq)
        return done

    def _finish(self, seq: Sequence) -> None:
        if self._lag:
            self._lag.hold(seq)
        else:
            self.kv.release(seq, resumable=False)
        self._close_span(seq, "finished")
        if seq.decoding:
            self._cohort.remove(seq)
        else:
            del self._outside[seq.id]
        self._count(seq, running=-1, waiting=0)
        self.outstanding_tokens -= seq.prompt_tokens + seq.max_tokens
        del self._seqs[seq.id]
        self.scheduler.finished(seq)
        self.log.add_request(seq, self.index, "completed")

    # -- the log --------------------------------------------------------------------------------

    def _under_way(self) -> Stretch:
        if self._stretch is None:
            raise LawBroken(f"no step under way in replica {self.index}")
        return self._stretch

    def _log_decisions(self, plan: Plan, copies: Iterable[Copy]) -> None:
        log, iteration = self.log.decisions, self.log.iterations(self.index)
        if log is None:
            return
        out = (copy.seq for copy in copies if copy.blocks and copy.direction is Direction.TO_CPU)
        for decision in decisions_of(plan, {seq.id: seq for seq in out}, log.interrupted):
            log.add(self.index, self.now, iteration, decision)

    def _close_span(self, seq: Sequence, ended: SpanEnd) -> None:
        start = seq.residency_start
        if start is not None:
            output = seq.num_output
            self.log.add_span(seq.id, self.index, start, output - seq.logged_output, ended)
            seq.residency_start, seq.logged_output = None, output

    def _state(self, plan: Plan) -> tuple[int, ...]:
        kv_tokens = list(self._cohort.kv_tokens)
        if plan.stalls:
            kv_tokens = [a - b for a, b in zip(kv_tokens, self._cohort.members, strict=True)]
        for seq in self._outside.values():
            kv_tokens[seq.priority] += seq.num_computed
        decodes = 0 if plan.stalls else self._cohort.members[0]
        for view, tokens in plan.chunks:
            kv_tokens[view.priority] += tokens
            decodes += tokens == 1 and view.service_class is RT
        rt, be = kv_tokens
        return (decodes, rt + be, rt, self.kv.free_blocks, *self._running, *self._waiting)

    def _log_stretch(self, stretch: Stretch) -> None:
        self.log.add_iterations(self.index, stretch.ends_s, stalled=stretch.plan.stalls)
        outside = count_extrapolated(self.latency, stretch.shape, len(stretch.ends_s))
        self.log.steps.append(stretch.row(self.index, outside))
