"""`orca`, rule by rule; every iteration takes 1 s."""

import pytest
from scripted import ask, column, firsts, iterations, play

from bros_sim.core.errors import InputError
from bros_sim.kv.parameters import ReservedParameters
from bros_sim.kv.reserved import ReservedKV
from bros_sim.schedulers.fcfs import OrcaParameters, OrcaScheduler
from tests.cli.conftest import EXPERIMENT
from tests.config.test_experiment import points


def orca(*requests, slots=10_000, **options):
    return play(
        OrcaScheduler(OrcaParameters(**options)),
        *requests,
        kv=ReservedKV(ReservedParameters(num_gpu_blocks=slots + 1)),
    )


def test_whole_prompts_join_decodes_iteration_by_iteration():
    table = orca(ask(10, 4), ask(4000, 2, 0.5), ask(3000, 1, 0.5))
    assert iterations(table) == [(10, 0), (7000, 1), (0, 2), (0, 1)]


def test_a_batch_has_at_most_so_many_members():
    assert firsts(orca(ask(), ask(), ask(), max_num_seqs=2)) == [1.0, 1.0, 4.0]


def test_slots_are_reserved_for_the_longest_output_and_the_head_waits_for_them():
    """10 + 20 - 1 slots and 10 + 6 - 1: the third would fit where the second does not."""
    arrivals = ask(10, 4, max_tokens=20), ask(10, 3, max_tokens=6), ask(1, 1, max_tokens=1)
    assert firsts(orca(*arrivals, slots=43)) == [1.0, 5.0, 5.0]
    assert firsts(orca(*arrivals, slots=45)) == [1.0, 1.0, 1.0]


def test_nobody_is_preempted():
    table = orca(*(ask(10, 9) for _ in range(9)), slots=60)
    assert column(table, "num_preemptions") == [0] * 9


def test_memory_that_is_not_reserved_is_refused():
    text = EXPERIMENT.replace("{kind: vllm}, kv: {kind: paged}", "{kind: orca}, kv: {kind: paged}")
    with pytest.raises(InputError, match=r"FCFS\.kv: the scheduler never preempts"):
        points(text)
