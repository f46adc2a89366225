"""`sarathi`, rule by rule; every iteration takes 1 s."""

import random

import pytest
from sarathi_model import Engine, Sequence, serve
from scripted import ask, column, firsts, iterations, play, tokens

from bros_sim.core.world import World
from bros_sim.schedulers.fcfs import SarathiParameters, SarathiScheduler


def policy(**options):
    defaults = {"chunk_size": 32, "max_num_seqs": 8, "watermark": 0.0}
    return SarathiScheduler(SarathiParameters(**defaults | options))


def test_decodes_come_first_and_prompts_fill_the_budget():
    table = play(policy(), ask(20, 4), ask(40, 3), ask(10, 2))
    assert iterations(table)[:4] == [(32, 0), (31, 1), (7, 2), (0, 3)]
    assert firsts(table) == [1.0, 2.0, 3.0]


def test_a_decode_is_never_stalled_by_a_prompt():
    table = play(policy(), ask(10, 6), ask(120, 2, 0.5))
    assert tokens(table)[0] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def test_prompts_are_served_in_order_of_arrival():
    table = play(policy(), ask(70, 1), ask(10, 1, 0.5), ask(1, 1, 0.5))
    assert iterations(table) == [(32, 0), (32, 0), (16, 1)]


def test_all_blocks_of_a_prompt_are_taken_when_it_joins():
    table = play(policy(), ask(70, 1), blocks=7)
    assert table.steps["free_blocks"].tolist() == [2, 2, 2]


def test_the_first_that_cannot_be_allocated_blocks_those_behind():
    table = play(policy(chunk_size=99), ask(30, 3), ask(40, 2), ask(10, 2), blocks=4)
    assert firsts(table) == [1.0, 4.0, 4.0]


def test_seats_are_limited():
    table = play(policy(max_num_seqs=1), ask(10, 3), ask(10, 2))
    assert firsts(table) == [1.0, 4.0]


@pytest.mark.parametrize(("watermark", "second"), [(0.1, 1.0), (0.3, 4.0)])
def test_who_joins_leaves_the_watermark_free(watermark, second):
    kept = policy(watermark=watermark, chunk_size=200)
    assert firsts(play(kept, ask(96, 3), ask(20, 2), blocks=10)) == [1.0, second]


def test_a_request_alone_needs_no_watermark():
    table = play(policy(watermark=0.5), ask(155, 3), blocks=10)
    assert column(table, "status") == ["completed"]


def test_a_request_alone_is_not_preempted_for_a_block_it_does_not_need():
    table = play(policy(), ask(17, 16), blocks=2)
    assert column(table, "num_preemptions") == [0]


def test_the_latest_arrival_is_recomputed_and_waits_at_the_head():
    arrivals = ask(16, 3), ask(32, 4), ask(16, 1, 0.5)
    table = play(policy(chunk_size=99), *arrivals, blocks=4)
    assert column(table, "num_preemptions") == [0, 1, 0]
    assert tokens(table)[1] == [1.0, 4.0, 5.0, 6.0]
    assert firsts(table)[2] == 4.0


def test_a_prompt_under_way_gives_way_to_an_earlier_decode():
    table = play(policy(), ask(16, 4), ask(64, 2), blocks=5)
    assert column(table, "num_preemptions") == [0, 1]


def test_each_decode_must_find_a_free_block_even_if_it_needs_none():
    table = play(policy(chunk_size=99), ask(17, 2), ask(17, 3), blocks=4)
    assert column(table, "num_preemptions") == [0, 1]
    table = play(policy(chunk_size=99), ask(17, 2), ask(16, 2), blocks=4)
    assert column(table, "num_preemptions") == [0, 0]


@pytest.mark.parametrize("blocks", range(6, 14))
def test_a_stretch_ends_before_anybody_is_preempted(blocks):
    arrivals = ask(10, 60), ask(15, 60), ask(20, 9)
    at_once = play(policy(), *arrivals, blocks=blocks)
    one_by_one = play(policy(), *arrivals, blocks=blocks, longest_stretch=1)
    assert iterations(at_once) == iterations(one_by_one)
    assert blocks > 10 or sum(column(at_once, "num_preemptions"))


def test_prefixes_are_not_cached():
    table = play(policy(), ask(40, 1, prefix=(7, 8, 9)), ask(40, 1, 3.5, prefix=(7, 8, 9)))
    assert column(table, "cached_tokens") == [0, 0]


def test_a_budget_below_the_seats_is_refused():
    assert not SarathiParameters().conflicts(World(4096))
    assert "below max_num_seqs" in SarathiParameters(chunk_size=100).conflicts(World(4096))[0]


class Recorded(SarathiScheduler):
    """Writes down what each iteration computes."""

    def __init__(self, **options):
        super().__init__(SarathiParameters(**options))
        self.log = []

    def settle(self, plan, view):
        gone = {seq.id for seq in plan.evicted}
        decodes = (seq for seq in self.batch if seq.decoding and seq.id not in gone)
        computed = {seq.id: 1 for seq in decodes} | {seq.id: n for seq, n in plan.chunks}
        self.log.append((view.now, computed))


@pytest.mark.parametrize("seed", range(5))
def test_every_iteration_is_that_of_a_second_transcription(seed):
    draw = random.Random(seed)
    preempted = 0
    for _ in range(40):
        shapes = [(draw.randint(1, 60), draw.randint(1, 40)) for _ in range(draw.randint(2, 12))]
        times = sorted(draw.randint(0, 20) / 2 for _ in shapes)
        limits = {"chunk_size": draw.choice([8, 32, 90]), "max_num_seqs": draw.randint(1, 8)}
        blocks, size = draw.randint(12, 40), draw.choice([4, 8])
        scheduler = Recorded(watermark=draw.choice([0.1, 0.2]), **limits)
        arrivals = (ask(p, n, at) for (p, n), at in zip(shapes, times, strict=True))
        table = play(scheduler, *arrivals, blocks=blocks, size=size, longest_stretch=1)
        fits = [p + n - 1 <= blocks * size for p, n in shapes]
        rows = [(i, at, p, n) for i, ((p, n), at) in enumerate(zip(shapes, times, strict=True))]
        kept = int(scheduler.watermark * (blocks + 1))
        engine = Engine(*limits.values(), kept, blocks, size)
        expected = serve(engine, [Sequence(*row) for row in rows if fits[row[0]]])
        assert scheduler.log == expected
        preempted += sum(column(table, "num_preemptions"))
    assert preempted > 20
