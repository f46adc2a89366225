"""How long a policy believes an output to be: by default ``max_tokens``, the client's cap.

A policy sees no true lengths (law L8), except through `Scheduler.set_true_length`, for which
``lengths: oracle`` asks. Such a policy is a bound, not a system. Where a stream's rule makes
``max_tokens`` proportional to the true length (``headroom``, the default, or ``exact``), the cap
orders requests as the oracle does: compare the two only on traces that hold caps of their own or
under the rule ``fixed``.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_doc import Doc

from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.ordered.scheduler import OrderedParameters, OrderedScheduler


@dataclass(frozen=True)
class LengthParameters(OrderedParameters):
    """The limits, and how lengths are predicted."""

    lengths: Annotated[
        Literal["max_tokens", "oracle"],
        Doc("output length to expect: the client's cap, or the true one (a bound, not a system)"),
    ] = "max_tokens"


class PredictingScheduler(OrderedScheduler):
    """A policy that predicts lengths."""

    parameters: LengthParameters

    def __init__(self, parameters: LengthParameters) -> None:
        super().__init__(parameters)
        self._true: dict[int, int] = {}

    def set_true_length(self, seq: SequenceView, output_tokens: int) -> None:
        if self.parameters.lengths == "oracle":
            self._true[seq.id] = output_tokens

    def output_tokens(self, seq: SequenceView) -> int:
        """Predicted length of the output; at least one more token than there are."""
        return max(self._true.get(seq.id, seq.max_tokens), seq.num_output + 1)

    def finished(self, seq: SequenceView) -> None:
        super().finished(seq)
        self._true.pop(seq.id, None)
