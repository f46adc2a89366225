"""The front end of an engine: the server process that tokenises prompts and streams tokens."""

from dataclasses import dataclass

from bros_sim.core.clock import on_grid


@dataclass(frozen=True)
class FrontEnd:
    """What a request costs before its engine has it, in seconds.

    A request of ``p`` prompt tokens that finds ``n`` requests running is with the engine
    ``ingest_s + per_prompt_token_s * p + per_running_s * n`` after the front end takes it: it
    streams one token for each running request between two iterations. Two requests are taken at
    least ``spacing_s`` apart, which is the front end's limit of throughput.
    """

    ingest_s: float = 0.0
    per_prompt_token_s: float = 0.0
    per_running_s: float = 0.0
    spacing_s: float = 0.0


class Intake:
    """The front end at work: requests are taken in order of arrival."""

    def __init__(self, costs: FrontEnd) -> None:
        self._costs = costs
        self._free_s = 0.0

    def handed_over_s(self, now: float, prompt_tokens: int, running: int) -> float:
        """When the engine has a request that arrives now."""
        costs, start = self._costs, max(now, self._free_s)
        self._free_s = start + costs.spacing_s
        seconds = costs.ingest_s + costs.per_prompt_token_s * prompt_tokens
        return on_grid(start + seconds + costs.per_running_s * running)
