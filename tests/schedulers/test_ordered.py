"""The loop of the rivals, question by question, with policies that answer one of them."""

import copy
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from scripted import BE, ask, column, firsts, iterations, play, tokens

from bros_sim.core.world import World
from bros_sim.engine.reasons import DEADLINE, Note
from bros_sim.schedulers.ordered.policy import RankedQueue
from bros_sim.schedulers.ordered.scheduler import OrderedParameters, OrderedScheduler


class Lifo(OrderedScheduler):
    """Last come, first served."""

    def __init__(self, **parameters: Any) -> None:
        super().__init__(OrderedParameters(**parameters))
        self.asked: list[int] = []

    def rank(self, seq: Any, now: float) -> tuple[float, ...]:
        self.asked.append(seq.id)
        return (-seq.id,)


class Urgent(Lifo):
    """Whoever came last takes what the others have."""

    def may_evict(self, victim: Any, taker: Any, now: float) -> bool:
        return victim.id < taker.id


def test_the_lowest_rank_starts_first():
    assert firsts(play(Lifo(max_num_seqs=1), ask(), ask(), ask())) == [7.0, 4.0, 1.0]


def test_decodes_come_first_and_prompts_share_the_rest_of_the_budget_by_rank():
    policy = Lifo(max_num_batched_tokens=20, max_num_seqs=4)
    table = play(policy, ask(10, 5), ask(30, 2, 0.5), ask(15, 2, 0.5))
    assert iterations(table)[:4] == [(10, 0), (19, 1), (18, 2), (8, 1)]
    assert firsts(table) == [1.0, 4.0, 2.0]


def test_a_prompt_under_way_is_overtaken_by_a_lower_rank():
    table = play(Lifo(max_num_batched_tokens=20, max_num_seqs=4), ask(60), ask(20, 3, 0.5))
    assert firsts(table) == [5.0, 2.0]


def test_a_policy_may_finish_prompts_first():
    class Finishing(Lifo):
        finishes_prompts = True

    table = play(Finishing(max_num_batched_tokens=20, max_num_seqs=4), ask(60), ask(20, 3, 0.5))
    assert firsts(table) == [3.0, 5.0]


def test_a_policy_may_leave_prompts_whole():
    class Whole(Lifo):
        cuts_prompts = False

    policy = Whole(max_num_batched_tokens=60, max_num_seqs=4)
    table = play(policy, ask(20), ask(40, 3), ask(30, 3))
    assert iterations(table)[:3] == [(30, 0), (40, 1), (20, 2)]


def test_a_whole_prompt_has_to_fit_into_an_iteration():
    class WholeParameters(OrderedParameters):
        cuts_prompts = False

    limits = WholeParameters(max_num_batched_tokens=60, max_num_seqs=4)
    assert "below the model length 99" in limits.conflicts(World(99))[0]
    assert not limits.conflicts(World(60))


def test_the_head_starts_or_nobody():
    table = play(Lifo(), ask(40, 4), ask(16, 2, 0.5), ask(60, 1, 0.5), blocks=6)
    assert firsts(table) == [1.0, 5.0, 5.0]


def test_nobody_passes_a_head_that_cannot_start_beside_a_prompt_under_way():
    policy = Lifo(max_num_batched_tokens=30, max_num_seqs=4)
    table = play(policy, ask(64, 1), ask(1, 1, 0.5), ask(40, 1, 0.5), blocks=6)
    assert firsts(table) == [3.0, 5.0, 5.0]


def test_a_seq_alone_finds_a_seat():
    class Full(Lifo):
        def has_seat(self, seq, step):
            return False

    assert firsts(play(Full(), ask(), ask())) == [4.0, 1.0]


def test_who_starts_leaves_prompts_under_way_what_they_lack():
    """The second would fit beside the first chunk of the first, but not beside all of it."""
    policy = Lifo(max_num_batched_tokens=20, max_num_seqs=4)
    table = play(policy, ask(64, 1), ask(30, 1, 0.5), blocks=5)
    assert column(table, "num_preemptions") == [0, 0]
    assert firsts(table) == [4.0, 6.0]


def test_short_of_memory_the_highest_rank_is_recomputed_and_nobody_joins_then():
    table = play(Lifo(), ask(16, 3), ask(16, 3), ask(1, 1, 0.5), blocks=3)
    assert column(table, "num_preemptions") == [1, 0, 0]
    assert tokens(table) == [[1.0, 4.0, 5.0], [1.0, 2.0, 3.0], [3.0]]


def test_prefixes_are_found_in_the_cache():
    table = play(Lifo(), ask(40, 1, prefix=(7, 8, 9)), ask(40, 1, 1.5, prefix=(7, 8, 9)))
    assert column(table, "cached_tokens") == [0, 32]


def test_a_waiting_seq_takes_a_seat_only_from_who_may_be_evicted():
    arrivals = ask(10, 5), ask(10, 2, 1.5)
    assert tokens(play(Lifo(max_num_seqs=1), *arrivals))[1] == [6.0, 7.0]
    table = play(Urgent(max_num_seqs=1), *arrivals)
    assert tokens(table) == [[1.0, 2.0, 5.0, 6.0, 7.0], [3.0, 4.0]]


def test_a_waiting_seq_takes_memory_from_the_highest_rank_first():
    table = play(Urgent(), ask(16, 9), ask(16, 9), ask(30, 1, 1.5), blocks=5)
    assert column(table, "num_preemptions") == [1, 0, 0]


def test_nobody_is_evicted_in_vain():
    class Careful(Urgent):
        def may_evict(self, victim, taker, now):
            return victim.id == 0

    table = play(Careful(), ask(16, 4), ask(32, 4), ask(60, 1, 0.5), blocks=5)
    assert column(table, "num_preemptions") == [0, 0, 0]
    assert firsts(table)[2] == 5.0


def test_a_paused_seq_keeps_its_memory_and_goes_on():
    class Every3rd(Lifo):
        timeless = False

        def pauses(self, view):
            idle = [seq for seq in self.batch if seq.id == 0]
            return [Note(seq, DEADLINE) for seq in idle if view.now % 3 == 1]

    table = play(Every3rd(), ask(10, 4), ask(10, 6))
    assert tokens(table) == [[1.0, 3.0, 4.0, 6.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]
    assert column(table, "recomputed_tokens") == [0, 0]


def test_limits_of_its_own_never_leave_a_policy_with_nobody():
    class Strict(Lifo):
        def grant(self, seq, tokens, step):
            return 5 if step.decodes else 0

    table = play(Strict(), ask(10, 3), ask(12, 1))
    assert iterations(table) == [(22, 0), (0, 1), (0, 1)]


def test_what_waits_costs_nothing_per_iteration():
    policy = Lifo(max_num_seqs=1)
    play(policy, *(ask(10, 200) for _ in range(5)), longest_stretch=1)
    assert len(policy.asked) == 5


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 99)), unique_by=lambda x: x[1]))
def test_a_ranked_queue_is_read_in_order_without_being_changed(entries):
    @dataclass(frozen=True)
    class Numbered:
        id: int

    queue = RankedQueue()
    for rank, number in entries:
        queue.push(Numbered(number), (rank,))
    before = copy.copy(queue._heap)
    assert [seq.id for seq in queue] == [number for _, number in sorted(entries)]
    assert queue._heap == before
    assert [queue.pop().id for _ in entries] == [number for _, number in sorted(entries)]


def test_best_effort_and_real_time_are_counted():
    class OneBe(Lifo):
        def has_seat(self, seq, step):
            return seq.service_class is not BE or step.running[1] < 1

    table = play(OneBe(), ask(cls=BE), ask(), ask(cls=BE))
    assert firsts(table) == [4.0, 1.0, 1.0]
