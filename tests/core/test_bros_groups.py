"""BROS judges decodes in groups, as one by one would; a full batch, and what a step costs."""

import sys

import numpy as np
import pandas as pd
import pytest
from bros_steps import BE, RT, bros, replica_with, step, submit
from simulations import UNEVEN, make_request, run

from bros_sim.core.request import Slo
from bros_sim.kv.bidirectional import BidirectionalKV
from bros_sim.kv.paged import PagedKV
from bros_sim.latency.linear import DecodeLine, Linear
from bros_sim.schedulers.bros import best_effort, replacement
from bros_sim.schedulers.bros.offers import Offers
from bros_sim.workload.streams import ClosedLoop, OpenLoop


def crowded(kv, seed: int, **rules) -> tuple[pd.DataFrame, ...]:
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

    replica = replica_with(bros(batch_cap=8, batch_cap_max=32, **rules), kv, latency=UNEVEN)
    sources = [OpenLoop(chat), ClosedLoop(12, 0.0, False, batch)]
    tables = run(sources, replica, duration_s=6.0, drain_s=4.0)
    return tables.requests, tables.steps, tables.residency


def singly(monkeypatch) -> None:
    """Ask each request by itself, the plain reading of Algorithm 1."""

    def each(self, run) -> None:
        for deadline, number, seq in run:
            if number not in self.memory.gone:
                self.rt(seq, deadline - self.batch.view.now)

    monkeypatch.setattr(Offers, "rt_decodes", each)
    monkeypatch.setattr(Offers, "bound_with", lambda *_: None)
    monkeypatch.setattr(best_effort, "_held_together", lambda *_: 0)
    monkeypatch.setattr(Offers, "_hopeless", lambda *_: False)
    monkeypatch.setattr(Offers, "each_counts", True)
    monkeypatch.setattr(replacement, "_all_in_time", lambda *_: 0)


@pytest.mark.parametrize("kv", [PagedKV, BidirectionalKV])
@pytest.mark.parametrize("blocks", [40, 400])
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    "rules", [{}, {"late_policy": "demote", "be_bound": "all_rt", "cap_reset": "rt"}]
)
def test_in_groups_as_one_by_one(kv, blocks: int, seed: int, rules, monkeypatch):
    grouped = crowded(kv(num_gpu_blocks=blocks, block_size=8), seed, **rules)
    singly(monkeypatch)
    alone = crowded(kv(num_gpu_blocks=blocks, block_size=8), seed, **rules)
    for table, other in zip(grouped, alone, strict=True):
        pd.testing.assert_frame_equal(table, other)


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
    costly = Linear(prefill_per_token_ms=1.0, decode=DecodeLine(const_ms=10.0, per_kv_token_ms=0.1))
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


@pytest.mark.parametrize("kv", [PagedKV, BidirectionalKV])
def test_a_step_costs_the_same_however_many_wait(kv):
    few, many = (calls_of_a_step(kv(num_gpu_blocks=80, block_size=4), n) for n in (100, 800))
    assert few == many
