"""Replacement in a full BROS batch: BE requests in place of RT ones with slack."""

from collections import abc
from operator import itemgetter

from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.bros.queues import BE, RtEntry
from bros_sim.schedulers.bros.selection import Selection

Swap = tuple[RtEntry, SequenceView]
"""An RT that gives its place up, and the BE in whose favour."""


def replaceable(full: Selection, tau_s: float) -> list[Swap]:
    """RT in the batch whose slack lets a BE go in their place (Alg. 1, batch full).

    The RT with the largest slack first, as long as it would still be in time one iteration later.
    Only time is judged here; memory is when the batch is put together again.
    """
    batch, unserved = full.batch, full.offers.unserved
    if full.offers.rules.rt_first and full.offers.rt_capped:
        return []
    if not unserved or batch.seconds_with(batch.work(unserved[0])) > batch.be_bound_s:
        return []
    by_slack = sorted(full.rt_entries(), key=itemgetter(0), reverse=True)[: len(unserved)]
    slack = [due - batch.view.now for due, _, _ in by_slack]
    chosen = _all_in_time(full, slack, tau_s)
    for seq, left in zip(unserved[chosen:], slack[chosen:], strict=False):
        seconds = batch.seconds_with(batch.work(seq))
        if seconds > batch.be_bound_s or left - seconds < tau_s:
            break
        chosen += 1
    return list(zip(by_slack[:chosen], unserved, strict=False))


def _all_in_time(full: Selection, slack: abc.Sequence[float], tau_s: float) -> int:
    """How many BE that only decode need no look one by one: all, if the longest is in time."""
    batch, running = full.batch, full.queues.running[BE]
    held = [seq for seq in full.offers.unserved if seq.id in running][: len(slack)]
    # Those with the most to restore come last.
    if not held or batch.estimate.noise or batch.kv.blocks_to_restore(held[-1]):
        return 0
    seconds = batch.seconds_with_decodes(1, max([seq.num_computed for seq in held]) + 1)
    last = slack[len(held) - 1]
    in_time = seconds <= batch.be_bound_s and last - seconds >= tau_s
    return len(held) if in_time else 0


def replace(full: Selection, swaps: abc.Sequence[Swap], tau_s: float, chosen: Selection) -> None:
    """Choose as in the full batch, but without the RT of ``swaps``, and so that they stay in time.

    ``chosen`` is a new pass over the same queues.
    """
    chosen.replaced = {seq_id: be for (_, seq_id, _), be in swaps}
    chosen.others = {seq_id for _, seq_id, _ in full.rt_entries()}
    earliest = min(due for (due, _, _), _ in swaps)
    chosen.batch.bound_s = earliest - full.batch.view.now - tau_s
    chosen.offers.bound_hit, chosen.offers.left_out = full.offers.bound_hit, True
    chosen.offers.notes.by_seq.update(full.offers.notes.by_seq)
    chosen.one_by_one()
