"""What it is worth to serve a request: tokens delivered, less what lateness takes away."""

from dataclasses import dataclass
from typing import NamedTuple

from bros_sim.engine.sequence import SequenceView


class Outlook(NamedTuple):
    """How a policy believes a request to go on, if it is served from ``now`` on."""

    now: float
    output_tokens: int
    """Length of the whole output."""
    first_token_s: float
    """Seconds until the prompt is computed; 0 once it is."""
    remaining_s: float
    """Seconds until the last token."""


@dataclass(frozen=True)
class ServiceGain:
    """Gain of a request (Tempo): prompt tokens, and output tokens ``output_weight`` times as dear.

    What comes late is worth ``(allowed / taken) ** decay`` of that, both counted from arrival.
    """

    output_weight: float
    decay: float

    def of(self, seq: SequenceView, outlook: Outlook) -> float:
        """The request's gain when it ends as foreseen.

        Without an end-to-end SLO prompt and output are judged by TTFT and by the last token's
        deadline; tokens that are out count as having been in time.
        """
        end_s = outlook.now + outlook.remaining_s - seq.arrival_s
        output = outlook.output_tokens
        if seq.slo.e2e_s is not None:
            whole = seq.prompt_tokens + self.output_weight * output
            return whole * self._share(seq.slo.e2e_s, end_s)
        allowed_s = seq.slo.deadline(seq.arrival_s, output) - seq.arrival_s
        late = (output - seq.num_output) * self._share(allowed_s, end_s)
        return self._prompt(seq, outlook) + self.output_weight * (seq.num_output + late)

    def density(self, seq: SequenceView, outlook: Outlook) -> float:
        """Gain for each second that it still takes."""
        return self.of(seq, outlook) / outlook.remaining_s

    def _prompt(self, seq: SequenceView, outlook: Outlook) -> float:
        if seq.num_output or seq.slo.ttft_s is None:
            return seq.prompt_tokens
        first_s = outlook.now + outlook.first_token_s - seq.arrival_s
        return seq.prompt_tokens * self._share(seq.slo.ttft_s, first_s)

    def _share(self, allowed_s: float, taken_s: float) -> float:
        return 1.0 if taken_s <= allowed_s else float((allowed_s / taken_s) ** self.decay)
