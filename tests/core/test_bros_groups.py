"""Both forms of BROS's algorithm choose alike; a full batch, and what an iteration costs."""

import sys

import numpy as np
import pytest
from bros_steps import BE, RT, bros, replica_with, step, submit
from components import any_component, any_requests
from hypothesis import given, settings
from hypothesis import strategies as st
from simulations import UNEVEN, WORLD, make_replica, make_request, run

from bros_sim.core.request import Slo
from bros_sim.engine.decision_log import DecisionLog
from bros_sim.engine.link_parameters import HostLink
from bros_sim.engine.record import RunLog
from bros_sim.engine.scheduler import Plan
from bros_sim.kv import KV_MANAGERS
from bros_sim.kv.bidirectional import BidirectionalKV
from bros_sim.kv.paged import PagedKV
from bros_sim.kv.parameters import BidirectionalParameters, PagedParameters
from bros_sim.latency.parameters import DecodeLine, Linear
from bros_sim.schedulers.bros.algorithm import Algorithm1
from bros_sim.schedulers.bros.grouped import GroupedAlgorithm1
from bros_sim.schedulers.bros.parameters import BrosParameters
from bros_sim.schedulers.bros.scheduler import BrosScheduler
from bros_sim.workload.streams import ClosedLoop, OpenLoop

OTHER_READINGS = {
    "late_policy": "demote",
    "be_bound": "all_rt",
    "cap_reset": "rt",
    "tpot_mode": "cumulative",
}


class BothForms:
    """A BROS scheduler for which both forms of the algorithm choose; it takes the second answer."""

    def __init__(self, scheduler: BrosScheduler, forms=(Algorithm1, GroupedAlgorithm1)) -> None:
        self._scheduler = scheduler
        self._forms = forms
        self.busy = 0
        """Plans whose batch is not simply the one before."""

    def __getattr__(self, name: str):
        return getattr(self._scheduler, name)

    def plan(self, view) -> Plan:
        bros = self._scheduler
        bros._catch_up(view)
        first, second = (
            form(view, bros._queues, bros._parameters, bros._cap, bros._avg_s)
            for form in self._forms
        )
        first.choose()
        expected = chosen_by(first)
        view.kv.rollback(first.mark)
        second.choose()
        assert chosen_by(second) == expected
        self.busy += not expected["whole"]
        return bros._decide(second)


def chosen_by(algorithm: Algorithm1) -> dict[str, object]:
    """All that the plan, the next plans and the decision log can depend on."""
    batch, kv = algorithm.batch, algorithm.kv
    return {
        "whole": batch.whole,
        "members": list(batch.selected),
        "chunks": [(seq.id, tokens) for seq, tokens in batch.chunks],
        "admitted": [seq.id for seq, _ in batch.admitted],
        "evicted": [seq.id for seq in batch.evicted],
        "bounds": (batch.bound_s, batch.be_bound_s),
        "grows": algorithm.grows(),
        "repeats": (batch.unserved, batch.left_out and batch.whole),
        "notes": [(n.seq.id, n.reason, n.other, n.value, n.limit) for n in algorithm.notes.all(())],
        "kv": (kv.free_blocks, kv.spare_iterations(), draft(kv)),
        "to restore": [kv.blocks_to_restore(seq) for seq in algorithm.view.batch],
    }


def draft(kv) -> object:
    """What the open draft says of each request, and of the copies that it calls for."""
    if isinstance(kv, PagedKV):
        return {n: t.tokens for n, t in kv._tables.items()}, kv._extended.copy(), kv._cpu._copies[:]
    if not isinstance(kv, BidirectionalKV):
        return ()
    table, sides = kv._table, {}
    for number, holding in kv._holdings.items():
        where = table.room(holding), holding.swapped, table.in_batch(holding)
        blocks = [(b.be.seq.id, b.be_index, b.rt_index, b.lost) for b in holding.shared.values()]
        sides[number] = where, sorted(blocks)
    return sides, kv._cpu._copies[:]


def crowded(scheduler, kv, seed: int, *, explain: bool = False) -> None:
    """A run with more requests in memory than seats in the batch, and deadlines that often bind."""
    draw = np.random.default_rng(seed)
    at = np.cumsum(draw.exponential(0.05, 120))
    shapes = draw.integers((5, 2), (120, 60), size=(200, 2)).tolist()
    slo = Slo(0.2, float(draw.choice([0.03, 0.045, 0.07])))
    chat = [
        make_request(i, arrival_s=float(at[i]), prompt=p, output=n, slo=slo)
        for i, (p, n) in enumerate(shapes[:120])
    ]

    def batch(index: int, arrival_s: float):
        prompt, output = shapes[index % 200]
        return make_request(
            index, arrival_s=arrival_s, prompt=prompt, output=output, service_class=BE
        )

    log = RunLog(decisions=DecisionLog() if explain else None)
    replica = make_replica(log, scheduler=scheduler, kv=kv, latency=UNEVEN)
    sources = [OpenLoop(chat), ClosedLoop(12, 0.0, False, batch)]
    run(sources, replica, duration_s=4.0, drain_s=2.0)


@pytest.mark.parametrize("kv", [PagedParameters, BidirectionalParameters])
@pytest.mark.parametrize("blocks", [40, 400])
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("rules", [{}, OTHER_READINGS], ids=["defaults", "others"])
def test_in_groups_as_one_by_one_in_a_crowd(kv, blocks: int, seed: int, rules):
    both = BothForms(bros(batch_cap=8, batch_cap_max=32, **rules))
    crowded(both, kv(num_gpu_blocks=blocks, block_size=8).make(WORLD), seed, explain=seed == 2)
    assert both.busy > 100


@pytest.mark.parametrize("kv", KV_MANAGERS.values())
@settings(max_examples=min(120, settings().max_examples))
@given(data=st.data())
def test_in_groups_as_one_by_one(kv, data: st.DataObject):
    """The law of both forms: the same batch, draft and notes in any state of any run."""
    scheduler = BrosScheduler(data.draw(any_component(BrosParameters)))
    log = RunLog(decisions=DecisionLog() if data.draw(st.booleans()) else None)
    parts = {"scheduler": BothForms(scheduler), "kv": data.draw(any_component(kv)).make(WORLD)}
    link = HostLink(to_gpu_gb_s=1.0, to_cpu_gb_s=0.7)
    replica = make_replica(
        log, latency=UNEVEN, max_model_len=100, link=link, token_bytes=400_000, **parts
    )
    run(data.draw(any_requests()), replica)


def test_who_paused_is_next_when_its_token_is_due_first():
    replica = replica_with(bros(batch_cap=1, batch_cap_max=1))
    submit(replica, 0, tpot=5.0, output=9)
    _, now = step(replica, 0.0)
    submit(replica, 1, ttft=0.2, tpot=5.0, output=9, at=now)
    submit(replica, 2, ttft=10.0, tpot=5.0, output=9, at=now)
    members, now = step(replica, now)
    assert members == [1]
    assert step(replica, now)[0] == [0]


@pytest.mark.parametrize(("tpot", "expected"), [(0.045, [0, 1]), (0.060, [1, 2])])
def test_who_is_replaced_must_be_in_time_an_average_iteration_later(tpot, expected):
    """With prompt 2 the iteration takes 35 ms, and the last one took 20."""
    replica = replica_with(bros(batch_cap=2, batch_cap_max=2, smoothing=0.0))
    submit(replica, 0, tpot=tpot, output=9)
    submit(replica, 1, tpot=tpot, output=9)
    _, now = step(replica, 0.0)
    submit(replica, 2, cls=BE, prompt=25)
    assert step(replica, now)[0] == expected


@pytest.mark.parametrize(("tpot", "expected"), [(0.025, [1, 2]), (0.035, [0, 2])])
def test_so_must_who_is_replaced_by_a_decode(tpot, expected):
    replica = replica_with(bros(batch_cap=2, batch_cap_max=2, smoothing=0.0))
    submit(replica, 0, cls=BE, output=9)
    _, now = step(replica, 0.0)
    submit(replica, 1, ttft=0.035, tpot=tpot, output=9, at=now)
    submit(replica, 2, ttft=0.035, tpot=tpot, output=9, at=now)
    members, now = step(replica, now)
    assert members == [1, 2]
    assert step(replica, now)[0] == expected


def test_be_that_replace_two_rt_keep_both_in_time():
    """Each BE alone would be in time; both would take 30 of the 26 ms that the RT can wait."""
    costly = Linear(
        prefill_per_token_ms=1.0, decode=DecodeLine(const_ms=10.0, per_kv_token_ms=0.1)
    ).make()
    replica = replica_with(bros(batch_cap=2, batch_cap_max=2, smoothing=0.0), latency=costly)
    submit(replica, 0, cls=BE, prompt=100, output=9)
    submit(replica, 1, cls=BE, prompt=100, output=9)
    _, now = step(replica, 0.0)
    submit(replica, 2, ttft=0.1, tpot=0.046, output=9, at=now)
    submit(replica, 3, ttft=0.1, tpot=0.046, output=9, at=now)
    members, now = step(replica, now)
    assert members == [2, 3]
    assert step(replica, now)[0] == [0]


def test_who_waits_for_time_or_a_seat_is_asked_again_in_the_next_iteration():
    """RT 1 may be late by then, and the cap may have grown: no stretch of like iterations."""
    replica = replica_with()
    submit(replica, 0, tpot=0.05, output=50)
    _, now = step(replica, 0.0)
    submit(replica, 1, ttft=0.5, prompt=100, at=now)
    replica.begin(now)
    assert (replica.plan.chunks, replica.plan.repeat) == ((), 1)

    replica = replica_with(bros(batch_cap=2, batch_cap_max=8), longest_stretch=1)
    for number in range(2):
        submit(replica, number, tpot=0.05, output=50)
    _, now = step(replica, 0.0)
    submit(replica, 2, cls=BE, prompt=500, at=now)
    _, now = step(replica, now)  # its prompt is too long, so the cap starts over
    replica.begin(now)
    assert (replica.plan.chunks, replica.plan.repeat) == ((), 1)


def calls_of_a_step(kv, waiting: int) -> int:
    """Function calls of an overloaded replica's next steps: late RT and BE wait, memory is full."""
    replica, now, calls = replica_with(bros(batch_cap=4, batch_cap_max=8), kv), 0.0, 0
    for number in range(waiting):
        cls = BE if number % 2 else RT
        submit(replica, number, cls=cls, ttft=0.01, prompt=40, output=200)

    def count(_frame, event: str, _argument) -> None:
        nonlocal calls
        calls += event == "call"

    for repeat in range(40):
        if repeat == 20:
            sys.setprofile(count)
        replica.begin(now)
        now = replica.due
        replica.proceed(now)
    sys.setprofile(None)
    return calls


@pytest.mark.parametrize("kv", [PagedParameters, BidirectionalParameters])
def test_a_step_costs_the_same_however_many_wait(kv):
    few, many = (
        calls_of_a_step(kv(num_gpu_blocks=80, block_size=4).make(WORLD), n) for n in (100, 800)
    )
    assert few == many
