"""BROS's scheduler, a test per rule of docs/paper-map.md."""

import pytest
from bros_steps import BE, PER_TOKEN, bros, replica_with, step, submit
from simulations import WORLD, make_request, run

from bros_sim.core.request import Slo
from bros_sim.engine.estimate import Estimate
from bros_sim.engine.latency_model import StepShape
from bros_sim.kv.bidirectional import BidirectionalKV
from bros_sim.kv.parameters import BidirectionalParameters, PagedParameters
from bros_sim.workload.streams import ClosedLoop, OpenLoop


def test_rt_is_taken_by_ascending_residual_time():
    replica = replica_with(bros(batch_cap=1, batch_cap_max=1))
    submit(replica, 0, ttft=5.0)
    submit(replica, 1, ttft=1.0)
    assert step(replica, 0.0)[0] == [1]


def test_a_decode_competes_with_its_tpot_deadline():
    replica = replica_with(bros(batch_cap=1, batch_cap_max=1))
    submit(replica, 0, ttft=1.0, tpot=0.5)
    _, now = step(replica, 0.0)
    submit(replica, 1, ttft=0.4, at=now)
    assert step(replica, now)[0] == [1]


def test_rt_is_admitted_while_the_iteration_keeps_the_tightest_deadline():
    replica = replica_with()
    submit(replica, 0, ttft=1.0, prompt=600)
    submit(replica, 1, ttft=2.0, prompt=600)
    submit(replica, 2, ttft=3.0, prompt=300)
    assert step(replica, 0.0)[0] == [0, 2]


@pytest.mark.parametrize(("policy", "expected"), [("serve_first", [0, 1]), ("demote", [1])])
def test_who_cannot_be_in_time_binds_nobody(policy: str, expected: list[int]):
    """Request 0 is late already: it tightens no deadline, and ``demote`` lets others go first."""
    replica = replica_with(bros(late_policy=policy))
    submit(replica, 0, ttft=0.1, prompt=600)
    submit(replica, 1, ttft=0.9, prompt=500)
    members, _ = step(replica, 0.0)
    assert members == (expected if policy == "demote" else [0])
    replica = replica_with(bros(late_policy=policy))
    submit(replica, 0, ttft=0.1, prompt=600)
    submit(replica, 1, ttft=2.0, prompt=500)
    assert step(replica, 0.0)[0] == [0, 1]


def test_who_no_longer_fits_takes_nobodys_place_in_the_batch():
    """A late prompt goes first and leaves no time for 0; 1 has time, and keeps BE in bounds."""
    replica = replica_with(bros(batch_cap=2, batch_cap_max=2))
    submit(replica, 0, prompt=10, tpot=0.05)
    submit(replica, 1, prompt=10, tpot=0.5)
    _, now = step(replica, 0.0)
    submit(replica, 2, prompt=100, ttft=0.001, at=now)
    submit(replica, 3, prompt=1000, cls=BE, at=now)
    assert step(replica, now)[0] == [1, 2]


@pytest.mark.parametrize(("be_bound", "expected"), [("batch", [1, 2]), ("all_rt", [1])])
def test_be_may_keep_the_deadlines_of_rt_that_were_put_off(be_bound: str, expected: list[int]):
    """Prompt 1 is late: it goes first, takes longer than 0 may wait, and binds nobody."""
    replica = replica_with(bros(be_bound=be_bound))
    submit(replica, 0, prompt=10, output=9, tpot=0.05)
    _, now = step(replica, 0.0)
    submit(replica, 1, prompt=100, ttft=0.001, at=now)
    submit(replica, 2, prompt=600, cls=BE, at=now)
    assert step(replica, now)[0] == expected


def test_be_fills_what_the_deadline_leaves():
    replica = replica_with()
    submit(replica, 0, tpot=0.2, prompt=10, output=9)
    _, now = step(replica, 0.0)
    submit(replica, 1, cls=BE, prompt=300)
    submit(replica, 2, cls=BE, prompt=100)
    assert step(replica, now)[0] == [0, 2]


def test_without_rt_nothing_bounds_be():
    replica = replica_with()
    for number in range(3):
        submit(replica, number, cls=BE, prompt=3000)
    assert step(replica, 0.0)[0] == [0, 1, 2]


def test_be_replaces_the_rt_with_the_most_slack_when_the_batch_is_full():
    replica = replica_with(bros(batch_cap=2, batch_cap_max=2))
    submit(replica, 0, tpot=1.0, output=9)
    submit(replica, 1, tpot=5.0, output=9)
    _, now = step(replica, 0.0)
    submit(replica, 2, cls=BE, prompt=10)
    assert step(replica, now)[0] == [0, 2]


@pytest.mark.parametrize(("replacement", "expected"), [("always", [0, 3]), ("rt_first", [0, 1])])
def test_be_may_take_the_place_of_rt_while_other_rt_wait(replacement: str, expected: list[int]):
    replica = replica_with(bros(batch_cap=2, batch_cap_max=2, replacement=replacement))
    submit(replica, 0, tpot=1.0, output=9)
    submit(replica, 1, tpot=5.0, output=9)
    _, now = step(replica, 0.0)
    submit(replica, 2, prompt=10, ttft=9.0, at=now)
    submit(replica, 3, cls=BE, prompt=10, at=now)
    assert step(replica, now)[0] == expected


def test_no_rt_is_replaced_that_would_then_be_late():
    replica = replica_with(bros(batch_cap=2, batch_cap_max=2))
    submit(replica, 0, tpot=0.030, output=9)
    submit(replica, 1, tpot=0.030, output=9)
    _, now = step(replica, 0.0)
    submit(replica, 2, cls=BE, prompt=25)
    assert step(replica, now)[0] == [0, 1]


def test_rt_stay_if_the_batch_would_be_empty_without_them():
    """BE 1 may take the place of RT 0, but needs five blocks where three are free."""
    kv = PagedParameters(num_gpu_blocks=7, block_size=4, enable_prefix_caching=False)
    replica = replica_with(bros(batch_cap=1, batch_cap_max=1), kv.make(WORLD))
    submit(replica, 0, prompt=10, output=9)
    _, now = step(replica, 0.0)
    submit(replica, 1, prompt=20, cls=BE, at=now)
    assert step(replica, now)[0] == [0]


def test_nobody_makes_the_rt_late_that_was_replaced():
    """BE 1 takes the place of 0, whose deadline goes on keeping prompt 2 out."""
    replica = replica_with(bros(batch_cap=1, batch_cap_max=1))
    submit(replica, 0, prompt=10, output=9, tpot=0.1)
    _, now = step(replica, 0.0)
    submit(replica, 1, prompt=10, cls=BE, at=now)
    submit(replica, 2, prompt=500, at=now)
    assert step(replica, now)[0] == [1]


@pytest.mark.parametrize(("cap_reset", "last"), [("anyone", 2), ("rt", 8)])
def test_the_cap_doubles_until_a_deadline_binds_then_starts_over(cap_reset: str, last: int):
    """The deadline leaves out a BE: whether that counts is a parameter."""
    scheduler = bros(batch_cap=2, batch_cap_max=8, cap_reset=cap_reset)
    replica = replica_with(scheduler)
    caps, now = [], 0.0
    for number in range(3):
        submit(replica, number, cls=BE, prompt=10, output=50)
        _, now = step(replica, now)
        caps.append(scheduler._cap)
    submit(replica, 3, tpot=0.05, prompt=10, output=50)
    _, now = step(replica, now)
    caps.append(scheduler._cap)
    submit(replica, 4, cls=BE, prompt=500)
    _, now = step(replica, now)
    assert [*caps, scheduler._cap] == [4, 8, 8, 8, last]
    submit(replica, 5, prompt=500)
    step(replica, now)
    assert scheduler._cap == 2


def test_scheduling_takes_its_share_of_the_iteration():
    replica = replica_with(bros(overhead_share=0.2))
    submit(replica, 0, prompt=800)
    assert step(replica, 0.0)[1] == pytest.approx(1.0)


def test_the_estimate_is_the_policys_own():
    """Twice too pessimistic, it leaves out who would have been in time."""
    for bias, expected in [(1.0, [0, 1]), (2.0, [0])]:
        replica = replica_with(estimate=Estimate(PER_TOKEN, bias=bias))
        submit(replica, 0, ttft=1.0, prompt=400)
        submit(replica, 1, ttft=1.0, prompt=400)
        members, end_s = step(replica, 0.0)
        assert members == expected
        assert end_s == pytest.approx(0.4 * len(expected))


def test_a_noisy_estimate_is_wrong_in_the_same_way_each_time():
    noisy = Estimate(PER_TOKEN, noise=0.3, seed=1)
    other = Estimate(PER_TOKEN, noise=0.3, seed=2)
    shapes = [replica_shape(n) for n in range(1, 50)]
    errors = [noisy.step_s(s) / PER_TOKEN.step_s(s) for s in shapes]
    assert errors == [noisy.step_s(s) / PER_TOKEN.step_s(s) for s in shapes]
    assert errors != [other.step_s(s) / PER_TOKEN.step_s(s) for s in shapes]
    assert 0.5 < min(errors) < 0.9 < 1.1 < max(errors) < 2.2


def replica_shape(tokens: int):
    return StepShape(((tokens, 0),), 0, 0)


@pytest.mark.parametrize("kv", [PagedParameters, BidirectionalParameters])
def test_be_gives_way_when_running_rt_lacks_memory(kv):
    replica = replica_with(kv=kv(num_gpu_blocks=5, block_size=4))
    rt = submit(replica, 0, prompt=4, output=9)
    submit(replica, 1, cls=BE, prompt=12, output=2)
    _, now = step(replica, 0.0)
    members, _ = step(replica, now)
    assert 0 in members
    assert rt.num_output == 2


def test_rt_borrows_what_best_effort_holds_and_gives_it_back():
    """The RT prompt needs all blocks: BE loses slots to the CPU, then runs on without recompute."""
    kv = BidirectionalKV(BidirectionalParameters(num_gpu_blocks=6, block_size=4))
    requests = [
        make_request(0, prompt=12, output=8, service_class=BE),
        make_request(1, arrival_s=0.05, prompt=9, output=3, slo=Slo(1.0, 1.0)),
    ]
    table = run(requests, replica_with(kv=kv))
    be, rt = table.requests.iloc[0], table.requests.iloc[1]
    assert rt["first_token_s"] - rt["arrival_s"] < 0.1
    assert be["status"] == "completed"
    assert be["num_preemptions"] == 0


def closed_be(clients: int) -> ClosedLoop:
    def request(index: int, arrival_s: float):
        size = 20 + 7 * index % 13
        return make_request(index, arrival_s=arrival_s, prompt=size, output=size, service_class=BE)

    return ClosedLoop(clients, 0.0, False, request)


@pytest.mark.parametrize("kv", [PagedParameters, BidirectionalParameters])
@pytest.mark.parametrize("watermark", [0.0, 0.1])
def test_best_effort_progresses_while_every_block_is_held_by_best_effort(kv, watermark):
    """The literal reading livelocks here: each BE needs one more block and none is ever free."""
    replica = replica_with(bros(watermark=watermark), kv(num_gpu_blocks=41, block_size=4))
    rt = [
        make_request(i, arrival_s=0.3 * i, prompt=16, output=8, slo=Slo(0.4, 0.2))
        for i in range(60)
    ]
    table = run([OpenLoop(rt), closed_be(12)], replica, duration_s=20.0, drain_s=0.0)
    done = table.requests[table.requests["status"] == "completed"]
    assert (done["class"] == "be").sum() > 50
    assert (done["class"] == "rt").sum() >= 58


def test_a_new_rt_never_pushes_a_running_rt_out():
    """Nor does one that comes back from the CPU: they would push each other out in turn."""
    replica = replica_with(
        kv=BidirectionalKV(BidirectionalParameters(num_gpu_blocks=9, block_size=4))
    )
    requests = [
        make_request(i, arrival_s=0.02 * i, prompt=12, output=12, slo=Slo(0.05, 0.05))
        for i in range(40)
    ]
    table = run(requests, replica)
    assert set(table.requests["status"]) == {"completed"}
    assert table.requests["num_preemptions"].sum() <= 10
    assert table.requests["swapped_blocks"].sum() < 400
