"""One request's progress inside an engine, and the part of it that a policy may see."""

from collections import abc
from collections.abc import Hashable
from typing import Protocol

from bros_sim.core.request import Request, ServiceClass, Slo


class SequenceView(Protocol):
    """What a policy may know of a request, and never changes: all but its true output length."""

    id: int
    """Number of the request in order of arrival at the cluster (vLLM's tie-break)."""
    stream: str
    """Who sent it: the stream of the workload, as an engine knows clients by their keys."""
    service_class: ServiceClass
    priority: int
    """vLLM's priority value; the lower is the more urgent."""
    arrival_s: float
    slo: Slo
    prompt_tokens: int
    max_tokens: int
    """The client's cap on the output."""
    system_prompt_tokens: int
    """Tokens at the start of the prompt that its whole stream shares."""
    decoding: bool
    """Whether it decodes one token in every iteration (member of the decode cohort)."""
    num_preemptions: int
    """How often its KV was dropped."""

    @property
    def num_computed(self) -> int:
        """Tokens whose KV is in the cache."""

    @property
    def num_tokens(self) -> int:
        """Known tokens: prompt and generated ones (vLLM's ``num_tokens``)."""

    @property
    def num_output(self) -> int:
        """Tokens generated so far."""

    @property
    def last_token_s(self) -> float | None:
        """When the last token was generated; ``None`` before the first."""

    def block_keys(self, block_size: int) -> tuple[Hashable, ...]:
        """Content keys of the prompt's leading full blocks that other requests may share."""


Seqs = abc.Sequence[SequenceView]


class Cohort:
    """The clock of the decode cohort; this one stands still, for requests in no cohort."""

    def __init__(self) -> None:
        self.iteration = 0
        """Iterations so far."""
        self.last_end_s = 0.0
        """When the last of them ended."""


NO_COHORT = Cohort()


class Sequence:
    """Progress of one request in an engine; owned and changed by the engine alone.

    A request that decodes one token in every iteration is a member of the decode cohort and is not
    touched until it leaves: its counters are derived from the cohort's iteration number.
    """

    __slots__ = (
        "_base_computed", "_base_output", "_block_keys", "_cohort", "_joined", "_last_token_s",
        "_most_computed", "admit_order", "arrival_s", "cached_tokens", "checkpointed_slots",
        "decoding", "finish_iteration", "first_scheduled_s", "first_token_s", "id",
        "logged_output", "max_tokens", "num_preemptions", "priority", "prompt_tokens", "queued_s",
        "recomputed_tokens", "request", "service_class", "slo", "span_start", "stream",
        "swapped_blocks", "system_prompt_tokens", "target_output",
    )  # fmt: skip

    def __init__(self, seq_id: int, request: Request, arrival_s: float) -> None:
        self.id = seq_id
        self.request = request
        self.arrival_s = arrival_s
        self.queued_s = arrival_s
        self.target_output = request.output_tokens
        self.stream = request.stream
        self.service_class = request.service_class
        self.priority = request.service_class.priority
        self.slo = request.slo
        self.prompt_tokens = request.prompt_tokens
        self.max_tokens = request.max_tokens
        self.system_prompt_tokens = request.system_prompt_tokens
        self.first_scheduled_s: float | None = None
        self.first_token_s: float | None = None
        self.decoding = False
        """Whether the request is a member of the decode cohort."""
        self.cached_tokens = self.recomputed_tokens = self.num_preemptions = 0
        self.swapped_blocks = self.checkpointed_slots = 0
        self.admit_order = self.finish_iteration = -1
        self.span_start: int | None = None
        self.logged_output = 0
        self._base_computed = 0
        self._base_output = 0
        """Both counters less the iteration number of the cohort, to be added when asked."""
        self._most_computed = 0
        self._last_token_s: float | None = None
        self._cohort: Cohort = NO_COHORT
        self._joined = 0
        self._block_keys: tuple[Hashable, ...] | None = None

    @property
    def num_computed(self) -> int:
        """Tokens whose KV is in the cache."""
        return self._base_computed + self._cohort.iteration

    @property
    def num_output(self) -> int:
        """Tokens generated so far."""
        return self._base_output + self._cohort.iteration

    @property
    def num_tokens(self) -> int:
        """Known tokens: prompt and generated ones."""
        return self.prompt_tokens + self.num_output

    @property
    def last_token_s(self) -> float | None:
        """When the last token was generated; ``None`` before the first."""
        if self._cohort.iteration == self._joined:
            return self._last_token_s
        return self._cohort.last_end_s

    def block_keys(self, block_size: int) -> tuple[Hashable, ...]:
        """Content keys of the prompt's leading full blocks that other requests may share."""
        if self._block_keys is None:
            self._block_keys = self.request.block_keys(block_size)
        return self._block_keys

    def hit(self, tokens: int) -> None:
        """Start with ``tokens`` found in the prefix cache."""
        self._base_computed = tokens

    def run(self, tokens: int, now: float) -> bool:
        """Compute ``tokens``; True if none is lacking then, so that a new one comes at ``now``."""
        self.compute(tokens)
        if self._base_computed < self.prompt_tokens + self._base_output:
            return False
        self.emit(now)
        return True

    def compute(self, tokens: int) -> None:
        """Add the KV of a prefill chunk; below the high-water mark it is work done again."""
        before = self._most_computed - self._base_computed
        if before > 0:
            self.recomputed_tokens += min(tokens, before)
        self._base_computed += tokens

    def emit(self, now: float) -> None:
        """Add one generated token at ``now``."""
        self._base_output += 1
        self._last_token_s = now
        if self.first_token_s is None:
            self.first_token_s = now

    def join(self, cohort: Cohort) -> None:
        """Decode one token in every iteration from now on."""
        self._cohort, self._joined, self.decoding = cohort, cohort.iteration, True
        self._base_computed -= cohort.iteration
        self._base_output -= cohort.iteration

    def leave(self) -> int:
        """Write the derived counters down and stop decoding; the known tokens."""
        self._last_token_s = self.last_token_s
        self._base_computed += self._cohort.iteration
        self._base_output += self._cohort.iteration
        self._cohort, self._joined, self.decoding = NO_COHORT, 0, False
        return self.prompt_tokens + self._base_output

    def drop_kv(self) -> None:
        """Lose the whole KV (preemption by recompute); generated tokens are kept."""
        self.lose_kv()
        self.num_preemptions += 1

    def lose_kv(self) -> None:
        """Lose the whole KV outside the cohort; generated tokens are kept."""
        self._most_computed = max(self._most_computed, self._base_computed)
        self._base_computed = 0
