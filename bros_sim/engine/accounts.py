"""What an engine writes into the record."""

from collections.abc import Iterable

from bros_sim.engine.decision_log import decisions_of
from bros_sim.engine.kv_cache import Copy, Direction
from bros_sim.engine.latency_model import LatencyModel, count_extrapolated
from bros_sim.engine.record import RunLog, SpanEnd
from bros_sim.engine.scheduler import Plan
from bros_sim.engine.sequence import Sequence
from bros_sim.engine.step_clock import Stretch


class Accounts:
    """One engine's part of the record."""

    def __init__(self, engine: int, log: RunLog, latency: LatencyModel) -> None:
        self._engine = engine
        self._log = log
        self._latency = latency
        self.iterations = 0
        """How many have ended."""

    def end_iterations(self, stretch: Stretch, ended: int) -> None:
        """More iterations of a stretch have ended: so many of all."""
        ends = stretch.ends_s[stretch.ended : ended]
        self._log.add_iterations(self._engine, ends, stalled=stretch.plan.stalls)
        self.iterations += ended - stretch.ended
        stretch.ended = ended

    def close(self, stretch: Stretch) -> None:
        """A stretch is over; it goes into the steps table unless none of it has ended."""
        if len(stretch.ends_s):
            outside = count_extrapolated(self._latency, stretch.shape, len(stretch.ends_s))
            self._log.steps.append(stretch.row(self._engine, outside))

    def close_span(self, seq: Sequence, ended: SpanEnd) -> None:
        """A sequence gets no more tokens for now, if it got any."""
        start = seq.span_start
        if start is not None:
            output = seq.num_output
            tokens = output - seq.logged_output
            self._log.add_span(seq.id, self._engine, start, tokens, ended)
            seq.span_start, seq.logged_output = None, output

    def decide(self, plan: Plan, copies: Iterable[Copy], now: float) -> None:
        """A plan is about to be applied: its decisions, if they are kept."""
        log = self._log.decisions
        if log is None:
            return
        out = (copy.seq for copy in copies if copy.blocks and copy.direction is Direction.TO_CPU)
        for decision in decisions_of(plan, {seq.id: seq for seq in out}, log.interrupted):
            log.add(self._engine, now, self.iterations, decision)
