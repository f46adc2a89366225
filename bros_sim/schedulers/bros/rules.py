"""Readings of Algorithm 1 that the paper's sources leave open."""

from typing import Literal, NamedTuple


class Rules(NamedTuple):
    """Each is a parameter of `BrosScheduler`, which says what it means."""

    cap_reset: Literal["anyone", "rt"]
    replacement: Literal["always", "rt_first"]
    late_policy: Literal["serve_first", "demote"]
    be_bound: Literal["batch", "all_rt"]
    watermark: float
    shortage: Literal["recompute", "swap"]
    victims: Literal["be_only", "any_newest"]
