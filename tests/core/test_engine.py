"""An engine that loses sequences at random instants: by a crash, or because they are taken."""

import math
from typing import Any

import pytest
from components import any_requests
from hypothesis import strategies as st
from simulations import UNEVEN, make_replica, make_request
from test_laws import LINK, MODEL_LEN, law, pairs, pytest_generate_tests

from bros_sim.core.clock import on_grid
from bros_sim.core.errors import LawBroken
from bros_sim.core.request import Request
from bros_sim.engine.async_scheduling import AsyncEngine
from bros_sim.engine.engine import Engine
from bros_sim.engine.kv_cache import KvImage
from bros_sim.engine.record import RunLog
from bros_sim.engine.sequence import Sequence
from bros_sim.engine.state import Refusal
from bros_sim.kv.parameters import PagedParameters, ReservedParameters
from bros_sim.metrics.tables import run_tables
from bros_sim.schedulers.tgi import TgiParameters
from bros_sim.schedulers.vllm_parameters import VllmParameters

__all__ = ["pytest_generate_tests"]


class Driver:
    """Requests on engines without a clock of its own: copies take no time."""

    def __init__(self, log: RunLog, requests: list[Request]) -> None:
        self.log = log
        self.coming = [Sequence(i, r, r.arrival_s) for i, r in enumerate(requests)]

    def run(self, engine: Engine, events: float = math.inf) -> None:
        """Let arrive, compute and finish, so many times or until nothing is left to happen."""
        while events > 0 and self.next_s(engine) < math.inf:
            if self.coming and self.coming[0].arrival_s <= engine.due:
                engine.catch_up(self.next_s(engine))
                engine.submit(self.coming.pop(0))
            else:
                engine.proceed()
            engine.kv.check(engine.holders())
            events -= 1

    def next_s(self, engine: Engine) -> float:
        """When something happens next; begins what is to begin before."""
        if not engine.busy and (len(engine.batch) or engine.waiting_tokens):
            engine.begin(engine.now)
            engine.kv.check(engine.holders())
        arrival_s = self.coming[0].arrival_s if self.coming else math.inf
        return min(max(arrival_s, engine.now), engine.due)

    def run_to_any_instant(self, engine: Engine, data: st.DataObject) -> None:
        """Let a few things happen, and catch up to an instant before the next one."""
        self.run(engine, data.draw(st.integers(0, 20)))
        if math.isfinite(end_s := self.next_s(engine)):
            share = data.draw(st.floats(0, 1))
            engine.catch_up(on_grid(engine.now + share * (end_s - engine.now)))


def build(data: st.DataObject, scheduler: str, kv: str) -> tuple[Driver, list[Engine]]:
    """Two engines of one kind, the requests and one record."""
    policy, manager = data.draw(pairs(scheduler, kv))
    log = RunLog()
    engines = [
        make_replica(
            log,
            index,
            scheduler=policy,
            kv=manager,
            latency=UNEVEN,
            max_model_len=MODEL_LEN,
            **LINK,
        )
        for index in range(2)
    ]
    return Driver(log, data.draw(any_requests())), engines


def all_is_well(driver: Driver, last: Engine, requests: int) -> None:
    """L1, L2, L4 and L10 when everything has drained."""
    last.kv.check(())
    assert last.kv.free_blocks == last.kv.usable_blocks, "L4: blocks are held at the end"
    assert last.load().outstanding_tokens == last.load().waiting_tokens == 0
    driver.log.add_engine(0, "", "", block_size=1, kv_blocks=1, up_s=0.0)
    table = run_tables(driver.log.record(1.0))
    rows = table.requests
    assert len(rows) == requests, "L1: a request is lost"
    assert set(rows["status"]) <= {"completed", "rejected"}, "L1: the run drains"
    done = rows[rows["status"] == "completed"]
    assert (done["arrival_s"] <= done["first_scheduled_s"]).all(), "L2"
    assert (done["first_token_s"] <= done["last_token_s"]).all(), "L2"
    assert done["generated_tokens"].equals(done["output_tokens"]), "L10"
    tokens = table.spans.groupby("request")["tokens"].sum()
    assert tokens.reindex(done.index, fill_value=0).equals(done["generated_tokens"]), "L10"


@law
def test_a_crash_loses_kv_and_nobody(scheduler: str, kv: str, data: st.DataObject):
    driver, (first, second) = build(data, scheduler, kv)
    requests = len(driver.coming)
    driver.run_to_any_instant(first, data)
    gone = first.crash()
    first.kv.check(())
    assert first.kv.free_blocks == first.kv.usable_blocks, "L4: a crash leaves blocks held"
    assert (
        len(gone) + len(driver.coming) + len(driver.log.record(1.0).requests["stream"]) == requests
    ), "L1"
    second.catch_up(first.now)
    for seq in gone:
        second.submit(seq)
    driver.run(second)
    all_is_well(driver, second, requests)


@law
def test_who_is_taken_goes_on_elsewhere(scheduler: str, kv: str, data: st.DataObject):
    driver, (first, second) = build(data, scheduler, kv)
    requests, taken = len(driver.coming), list[tuple[Sequence, KvImage]]()
    for _ in range(data.draw(st.integers(1, 6))):
        driver.run_to_any_instant(first, data)
        if running := list(first.batch):
            seq = data.draw(st.sampled_from(running))
            computed = seq.num_computed
            image = first.take(seq)
            assert image.tokens == computed or not seq.num_computed
            taken.append((seq, image))
        first.kv.check(first.holders())
    driver.run(first)
    first.kv.check(())
    assert first.kv.free_blocks == first.kv.usable_blocks, "L4: who was taken holds blocks"
    second.catch_up(first.now)
    for seq, image in taken:
        second.submit(seq, image)
    driver.run(second)
    all_is_well(driver, second, requests)


def one_engine(kind: type[Engine] = Engine, **parts: Any) -> tuple[Engine, Sequence]:
    """An engine and a request of 40 + 20 tokens that it serves, in blocks of 16."""
    engine, seq = (
        make_replica(kind=kind, **parts),
        Sequence(0, make_request(0, prompt=40, output=20), 0.0),
    )
    assert engine.submit(seq) is None
    engine.begin(0.0)
    return engine, seq


def test_an_image_spares_the_blocks_that_it_fills():
    engine, seq = one_engine(scheduler=VllmParameters())
    engine.proceed()
    engine.begin(1.0)
    engine.catch_up(4.5)
    assert engine.take(seq) == KvImage(tokens=43, block_size=16)
    other = make_replica(scheduler=VllmParameters())
    assert other.submit(seq, KvImage(43, 16)) is None
    other.begin(4.5)
    assert other.plan is not None
    assert [tokens for _, tokens in other.plan.chunks] == [44 - 32]
    assert (seq.num_output, seq.recomputed_tokens, seq.num_preemptions) == (4, 0, 0)


def test_who_only_waits_cannot_be_taken():
    engine = make_replica()
    seq = Sequence(0, make_request(), 0.0)
    engine.submit(seq)
    with pytest.raises(LawBroken, match="request 0 holds no KV in engine 0"):
        engine.take(seq)


def test_a_refusal_says_why():
    prompts = enumerate((4094, 4093, 50))
    long, large, short = (Sequence(i, make_request(i, prompt=n), 0.0) for i, n in prompts)
    assert make_replica().submit(long) is Refusal.TOO_LONG
    assert make_replica().submit(large) is None
    few = PagedParameters(num_gpu_blocks=256)
    assert make_replica(kv=few).submit(large) is Refusal.NEVER_FITS
    strict = TgiParameters(max_input_tokens=20)
    engine = make_replica(scheduler=strict, kv=ReservedParameters(num_gpu_blocks=9000))
    assert engine.submit(short) is Refusal.TURNED_AWAY


def test_an_engine_that_plans_ahead_finds_out_late_whom_its_policy_turns_away():
    engine, _ = one_engine(
        AsyncEngine,
        scheduler=TgiParameters(max_concurrent_requests=1),
        kv=ReservedParameters(num_gpu_blocks=9000),
    )
    late = Sequence(1, make_request(1), 0.5)
    engine.catch_up(0.5)
    assert engine.submit(late) is None
    engine.proceed()
    assert engine.begin(1.0) == []
    engine.proceed()
    assert engine.begin(2.0) == [late]
    assert engine.load().waiting == (0, 0)


def test_a_look_inside_a_stretch_counts_the_iterations_that_ended():
    engine, _ = one_engine()
    engine.proceed()
    engine.begin(1.0)
    assert engine.due == 20.0
    free = engine.free_tokens
    engine.catch_up(8.5)
    assert (engine.load().kv_tokens, engine.free_tokens) == ((47, 0), free)
    engine.catch_up(9.0)  # what ends now comes after whoever looks now
    assert engine.load().kv_tokens == (47, 0)
    engine.catch_up(9.5)  # the 49th token needs a block
    assert (engine.load().kv_tokens, engine.free_tokens) == ((48, 0), free - 16)
    engine.cut()
    assert engine.due == 10.0
