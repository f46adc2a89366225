"""What a client asks for: the frozen vocabulary that every other module shares."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeVar

from annotated_doc import Doc
from annotated_types import Gt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
Positive = Annotated[float, Gt(0)]
Number = TypeVar("Number", float, "NDArray[np.float64]")


class ServiceClass(StrEnum):
    """The two service classes of BROS: real-time and best-effort."""

    RT = "rt"
    BE = "be"

    @property
    def priority(self) -> int:
        """vLLM's priority value: the lower integer is the more urgent one."""
        return 0 if self is ServiceClass.RT else 1


def token_deadline(first_due_s: Number, tpot_s: Number, later: Number) -> Number:
    """``arrival + ttft + (k - 1) * tpot`` for token k, ``later`` than the first; also of arrays."""
    return first_due_s + later * tpot_s


@dataclass(frozen=True, slots=True)
class Slo:
    """Service-level objective; what is left out binds nothing."""

    ttft_s: Annotated[Positive | None, Doc("arrival to first token")] = None
    tpot_s: Annotated[Positive | None, Doc("time per further token")] = None
    e2e_s: Annotated[Positive | None, Doc("arrival to last token")] = None

    @property
    def pace_s(self) -> float:
        """Seconds between the deadlines of tokens; infinity without TPOT."""
        return math.inf if self.tpot_s is None else self.tpot_s

    def deadline(self, arrival_s: float, k: int) -> float:
        """When token ``k`` (1-based) is due; infinity without TTFT, or without TPOT for k > 1."""
        if self.ttft_s is None or (k > 1 and self.tpot_s is None):
            return math.inf
        return token_deadline(arrival_s + self.ttft_s, self.tpot_s or 0.0, k - 1)

    def last_deadline(self, arrival_s: float) -> float:
        """When the whole request is due; infinity without ``e2e_s``."""
        return math.inf if self.e2e_s is None else arrival_s + self.e2e_s


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the client sends it.

    ``output_tokens`` is the true length, known to the simulator alone; ``max_tokens`` the cap that
    the client states, which a policy may see. ``prefix_hashes`` holds one chained content key for
    each block of ``hash_block_tokens`` prompt tokens (equal key = equal prefix up to and including
    that block), the last one possibly partial. ``system_prompt_tokens`` come first in the prompt.
    """

    stream: str
    index: int
    service_class: ServiceClass
    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    max_tokens: int
    slo: Slo
    prefix_hashes: tuple[int, ...] = ()
    hash_block_tokens: int = 16
    system_prompt_tokens: int = 0

    @property
    def request_id(self) -> str:
        """Stable name: the stream and the position in it, the same under every system."""
        return f"{self.stream}-{self.index}"

    def block_keys(self, block_size: int) -> tuple[tuple[int, int], ...]:
        """Content keys of the prompt's leading full blocks of ``block_size`` tokens.

        A block is identified by the hash of the trace block that its last token lies in, and by its
        place in there, so equal keys mean equal prefixes up to and including it.
        """
        size, hashes = self.hash_block_tokens, self.prefix_hashes
        covered = min(self.prompt_tokens, size * len(hashes)) // block_size
        ends = range(block_size - 1, covered * block_size, block_size)
        return tuple((hashes[end // size], end % size) for end in ends)
