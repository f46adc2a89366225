"""What a reader is: how its format is recognised, and the raw rows that it returns."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bros_sim.core.request import ServiceClass
from bros_sim.workload.readers.source import Head, Source

Dequantise = Literal["none", "uniform"]
ZeroTokens = Literal["one", "drop"]
NO_TOKENS = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Policy:
    """What is done to the rows of a file, in the order of `read_trace`.

    Rows outside ``[start_s, end_s)`` are left out; a file of statistics need not make them, and
    ``seed`` draws what it leaves open, and the dequantised times.
    """

    start_s: float = 0.0
    end_s: float = np.inf
    dequantise: Dequantise = "none"
    zero_tokens: ZeroTokens = "one"
    max_prompt_tokens: int | None = None
    max_output_tokens: int | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows as the file has them: source order, no policy applied.

    ``arrival_s`` is ``None`` for length-only sets; ``prompt_tokens`` and ``output_tokens`` are
    empty for arrival-only sets. In optional columns NaN (SLOs), 0 (``max_tokens``) and ``None``
    (class) mean that the row states nothing. ``lines`` is the line of each row, for error messages;
    ``notes`` counts what was decided in reading, by name of a field of ``ReadCounts``.
    """

    lines: NDArray[np.int64]
    arrival_s: NDArray[np.float64] | None
    prompt_tokens: NDArray[np.int64] = field(default_factory=lambda: NO_TOKENS)
    output_tokens: NDArray[np.int64] = field(default_factory=lambda: NO_TOKENS)
    service_class: tuple[ServiceClass | None, ...] | None = None
    ttft_slo_s: NDArray[np.float64] | None = None
    tpot_slo_s: NDArray[np.float64] | None = None
    e2e_slo_s: NDArray[np.float64] | None = None
    max_tokens: NDArray[np.int64] | None = None
    prefix_hashes: tuple[tuple[int, ...], ...] | None = None
    hash_block_tokens: int = 16
    notes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Reader:
    """One trace format: ``needs`` are the columns or keys without which it is not this format.

    ``fits`` settles the cases in which two formats share those names.
    """

    name: str
    title: str
    layout: str
    needs: frozenset[str]
    read: Callable[[Source, Policy], Rows]
    fits: Callable[[Head], bool] = lambda _: True

    def matches(self, head: Head) -> bool:
        return self.layout == head.layout and self.needs <= set(head.keys) and self.fits(head)
