"""Why a policy kept a request from running: what it says when asked (`ReplicaView.explain`).

A policy notes whom it looked at and left out, and the first of those whom it did not reach: who
stands behind in the same line waits for the same reason. What became of a request is in the `Plan`.
"""

import math
from typing import NamedTuple

from bros_sim.engine.sequence import SequenceView

BUDGET = "budget"
"""Tokens that it lacks > tokens that the iteration has left."""
SEATS = "seats"
"""As many run as may."""
OUTRANKED = "outranked"
"""It gives its seat to ``other``, which the policy puts before it."""
BATCH_CAP = "batch_cap"
"""The batch has as many members as it may have, ``limit``."""
MEMORY = "memory"
"""KV blocks that it lacks > free blocks; of an evicted request: ``other`` needed its blocks."""
DEADLINE = "deadline"
"""Predicted seconds with it in the batch > seconds until the token of ``other`` is due."""
REPLACED = "replaced"
"""It has time to spare, and ``other`` goes in its place."""
AFTER_PREEMPTION = "after_preemption"
"""Nobody is admitted in an iteration that took the memory of ``other``."""
SWAPPED_FIRST = "swapped_first"
"""Nobody is admitted while ``other`` is swapped out."""
PROMPTS_FIRST = "prompts_first"
"""Decodes stand still while the prompt of ``other`` runs."""
TOO_FEW = "too_few"
"""Requests that could join < those for which the running ones are interrupted, ``limit``."""
EVERY_SECOND = "every_second"
"""Nobody is admitted in the iteration after one that admitted."""
OTHER_CLASS = "other_class"
"""The iteration is the other class's."""


class Note(NamedTuple):
    """Why ``seq`` was evicted, paused, swapped out or passed over; numbers as the reason says."""

    seq: SequenceView
    reason: str
    other: SequenceView | None = None
    value: float = math.nan
    limit: float = math.nan
