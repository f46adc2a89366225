"""The questions that a rival answers; the loop of `OrderedScheduler` asks them."""

from collections import abc

from bros_sim.engine.reasons import Note
from bros_sim.engine.scheduler import UNTIL_EVENT, Plan, ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.ordered.step import Step
from bros_sim.schedulers.queues import Rank


def completed(plan: Plan) -> list[SequenceView]:
    """Who computes its last known token in a plan, and so decodes from then on."""
    cached = dict(plan.admitted)
    return [
        seq
        for seq, tokens in plan.chunks
        if tokens == seq.num_tokens - cached.get(seq, seq.num_computed)
    ]


class OrderedPolicy:
    """An order, a budget, and who gives way.

    An iteration may be put together several times before it stands, so the questions change
    nothing: what a policy remembers it writes down in `begin` and `settle`.
    """

    cuts_prompts = True
    """Whether a prompt is cut to what is left of the budget, or waits until all of it fits."""
    caches_prefixes = True
    """Whether prefixes are looked up in the cache and memory is taken chunk by chunk; else it is
    taken for all known tokens on admission."""
    timeless = True
    """Whether the answers stay the same until something arrives, finishes or runs short of memory,
    but for those of `may_evict` that turn from yes to no."""
    finishes_prompts = False
    """Whether prompts under way go before all who wait, or are overtaken by a lower rank."""
    token_limit: int
    """Most tokens of an iteration."""
    max_num_seqs: int
    """Most requests that run at a time."""

    def rank(self, seq: SequenceView, now: float) -> Rank:
        """Who is served first: the lowest rank, ties by arrival.

        Asked for a waiting request when it comes (`runs` is False then, and it has no KV), for a
        running one whenever a victim or the order of the prompts is looked for.
        """
        return ()

    def budget(self, view: ReplicaView) -> int:
        """Tokens of the coming iteration, those of its decodes included."""
        return self.token_limit

    def has_seat(self, seq: SequenceView, step: Step) -> bool:
        """Whether a waiting request may join ``step.running`` others; not asked if nobody runs."""
        return sum(step.running) < self.max_num_seqs - step.view.held_seats

    def spare_blocks(self, seq: SequenceView, step: Step) -> int:
        """KV blocks to leave free when a request joins others."""
        return 0

    def grant(self, seq: SequenceView, tokens: int, step: Step) -> int:
        """How many of ``tokens``, which the budget allows, who is outside the cohort computes."""
        return tokens

    def why_not(self, seq: SequenceView, tokens: int, step: Step) -> Note:
        """Why a request got none of the ``tokens`` that it lacks."""
        return step.lacks_budget(seq, tokens)

    def pauses(self, view: ReplicaView) -> abc.Sequence[Note]:
        """Running requests that keep their KV and compute nothing in this iteration, and why."""
        return ()

    def leaves_too_little(self, step: Step) -> bool:
        """Whether memory counts as lacking though every decode has found its room."""
        return False

    def may_evict(self, victim: SequenceView, taker: SequenceView, now: float) -> bool:
        """Whether a running request is evicted if a waiting one can start instead."""
        return False

    def lasts(self, view: ReplicaView) -> int:
        """For how many iterations a plan of decodes alone stays the same; see `Plan.repeat`."""
        return UNTIL_EVENT if self.timeless else 1

    def begin(self, view: ReplicaView) -> None:
        """What the policy writes down before a plan."""

    def settle(self, plan: Plan, view: ReplicaView) -> None:
        """What the policy writes down of its plan."""
