"""When the next token of a decode cohort is due, without asking each of its members."""

import math
from collections import abc
from collections.abc import Callable
from dataclasses import dataclass, field

from bros_sim.engine.sequence import SequenceView


@dataclass
class DecodeSlack:
    """Decodes by time per output token: within such a group the tightest one stays the tightest.

    All members get a token in every iteration, so their deadlines move on alike.
    """

    starts: abc.Sequence[SequenceView] = ()
    """Requests whose prompt ends in the iteration under way; they decode from then on."""
    _groups: dict[float, dict[int, SequenceView]] = field(init=False, default_factory=dict)
    _tightest: dict[float, SequenceView] = field(init=False, default_factory=dict)
    _clock_s: dict[int, float] = field(init=False, default_factory=dict)
    """When the first token was due, or came if it came late, by request."""
    _tpot_s: dict[int, float] = field(init=False, default_factory=dict)

    def join(
        self, first_due_s: Callable[[SequenceView], float], tpot_s: Callable[[SequenceView], float]
    ) -> None:
        """Those of `starts` that have not finished at once are decodes now."""
        for seq in self.starts:
            start = max(first_due_s(seq), seq.last_token_s or 0.0)
            clock, tpot = self._clock_s.setdefault(seq.id, start), tpot_s(seq)
            if math.isinf(clock) or math.isinf(tpot):
                continue
            self._tpot_s[seq.id] = tpot
            self._groups.setdefault(tpot, {})[seq.id] = seq
            tightest = self._tightest.get(tpot)
            if tightest is None or self._next_due_s(seq) < self._next_due_s(tightest):
                self._tightest[tpot] = seq
        self.starts = ()

    def leave(self, seq: SequenceView) -> None:
        """The request does not decode any more; it may again."""
        self.starts = [x for x in self.starts if x.id != seq.id]
        tpot = self._tpot_s.pop(seq.id, None)
        if tpot is None:
            return
        group = self._groups[tpot]
        del group[seq.id]
        if self._tightest[tpot].id == seq.id:
            del self._tightest[tpot]
            if group:
                self._tightest[tpot] = min(group.values(), key=self._next_due_s)

    def forget(self, seq: SequenceView) -> None:
        """The request is gone."""
        self.leave(seq)
        self._clock_s.pop(seq.id, None)

    def due_s(self) -> float:
        """When the first of their next tokens is due; infinity when nothing binds them."""
        return min(map(self._next_due_s, self._tightest.values()), default=math.inf)

    def _next_due_s(self, seq: SequenceView) -> float:
        return self._clock_s[seq.id] + self._tpot_s[seq.id] * seq.num_output
