"""The laws of docs/invariants.md, over every scheduler x KV manager of the tables."""

import ast
import functools
import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from components import any_component, any_requests
from hypothesis import given, settings
from hypothesis import strategies as st
from simulations import UNEVEN, made, make_replica, make_request, run

from bros_sim.cluster.routers.routing import RoundRobin
from bros_sim.config.components import load_class
from bros_sim.core.clock import on_grid
from bros_sim.core.errors import LawBroken
from bros_sim.core.request import Request
from bros_sim.core.world import World
from bros_sim.engine import sequence
from bros_sim.engine.async_scheduling import AsyncEngine
from bros_sim.engine.decision_log import DecisionLog
from bros_sim.engine.engine import Engine
from bros_sim.engine.link_parameters import HostLink
from bros_sim.engine.noise import StepNoise
from bros_sim.engine.record import RunLog
from bros_sim.engine.scheduler import Plan
from bros_sim.engine.sequence import Sequence, SequenceView
from bros_sim.engine.state import Load
from bros_sim.kv import KV_MANAGERS
from bros_sim.latency.parameters import DecodeLine, Linear
from bros_sim.metrics.tables import RunTables
from bros_sim.schedulers import SCHEDULERS
from bros_sim.schedulers.ordered.scheduler import OrderedScheduler
from bros_sim.schedulers.vllm import VllmScheduler
from bros_sim.schedulers.vllm_parameters import VllmParameters
from bros_sim.workload.streams import OpenLoop

MODEL_LEN = 100
LINK = {"link": HostLink(to_gpu_gb_s=1.0, to_cpu_gb_s=0.7), "token_bytes": 400_000}
"""Copies that take about as long as an iteration."""


def _goes_with(scheduler: Any, kv: Any) -> bool:
    """Whether an experiment may pair them."""
    return kv.reserves or not scheduler.needs_reserving_kv


def _scheduler(kind: str) -> Any:
    """The parameters of a kind, one of the user's own included."""
    return SCHEDULERS.get(kind) or load_class(kind)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every law over all pairs of the tables, or over those of the scheduler that is asked for."""
    if "scheduler" in metafunc.fixturenames:
        kinds = metafunc.config.getoption("--scheduler") or SCHEDULERS
        every = itertools.product(kinds, KV_MANAGERS)
        pairs = [(s, k) for s, k in every if _goes_with(_scheduler(s), KV_MANAGERS[k])]
        metafunc.parametrize(("scheduler", "kv"), pairs)


def _examples(scheduler: str) -> int:
    """Few for the policies on the rivals' loop, which between them run it over and over."""
    usual = 12 if isinstance(made(_scheduler(scheduler)()), OrderedScheduler) else 40
    return min(usual if settings().derandomize else 80, settings().max_examples)


def law(check: Callable[[str, str, st.DataObject], None]) -> Callable[[str, str], None]:
    """A test that draws examples for a pair."""

    @functools.wraps(check)
    def test(scheduler: str, kv: str) -> None:
        @settings(max_examples=_examples(scheduler))
        @given(data=st.data())
        def draw(data: st.DataObject) -> None:
            check(scheduler, kv, data)

        draw()

    del test.__wrapped__  # type: ignore[attr-defined]  # pytest reads the signature
    return test


class LawfulEngine(Engine):
    """Checks the laws of one engine in every iteration."""

    def begin(self, t: float) -> list[Sequence]:
        assert t >= self.now, "L3: the clock goes back"
        refused = super().begin(t)
        assert self.due > t, "L3: an iteration takes no time"
        self.kv.check(self.holders())
        return refused

    def proceed(self, t: float | None = None) -> list[Sequence]:
        done = super().proceed(t)
        self.kv.check(self.holders())
        return done

    def _plan(self) -> Plan:
        """L5: a plan that is rolled back leaves the KV state as it was."""
        kv, seqs = self.kv, [*self.batch, *self._waiting.values()]
        mark = kv.mark()
        before, self.kv = _kv_state(kv, seqs), _Recorder(kv)
        plan = super()._plan()
        recorder, self.kv = self.kv, kv
        planned = _kv_state(kv, seqs)
        kv.rollback(mark)
        assert _kv_state(kv, seqs) == before, "L5: planning changed KV"
        recorder.repeat()
        assert _kv_state(kv, seqs) == planned, "L5: the same draft is another one"
        PLANS_SEEN.add(planned != before)
        return plan


class _Recorder:
    """A KV manager that knows what was asked of it, to ask it again after a rollback."""

    def __init__(self, kv: Any) -> None:
        self._kv = kv
        self._calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._kv, name)
        return functools.partial(self._call, value) if callable(value) else value

    def _call(self, method: Any, *args: Any, **options: Any) -> Any:
        answer = method(*args, **options)
        self._calls.append((method, args, options, answer))
        return answer

    def repeat(self) -> None:
        """Once more, with the blocks that are found now where blocks are handed on."""
        found: dict[int, Any] = {}
        for method, args, options, answer in self._calls:
            again = method(*(found.get(id(arg), arg) for arg in args), **options)
            if method == self._kv.lookup:
                found[id(answer)] = again
            else:
                assert again == answer, f"L5: {method} answers otherwise"


PLANS_SEEN: set[bool] = set()


def _kv_state(kv: Any, seqs: Iterable[Sequence]) -> tuple[Any, ...]:
    """All that later decisions can depend on."""
    waiting = [seq for seq in seqs if seq.num_computed == 0]
    hits = [[block.key for block in kv.lookup(seq)] for seq in waiting]
    return kv.free_blocks, kv.spare_iterations(), hits, _free_list(kv)


def _free_list(kv: Any) -> list[Any]:
    """The free list in order of reuse, runs of blocks that nobody can hit joined."""
    if not hasattr(kv, "_pool"):
        return []
    listed = [block for run in kv._pool._list for block in [run.key] * run.count]
    return [sum(1 for _ in group) if key is None else key for key, group in groupby(listed)]


def _usable(scheduler: Any) -> bool:
    return not scheduler.conflicts(World(MODEL_LEN))


def _simulate(
    scheduler: Any,
    kv: Any,
    requests: list[Request],
    kind: type[Engine] = Engine,
    *,
    explain: bool = False,
    **parts: Any,
) -> RunTables:
    log = RunLog(decisions=DecisionLog() if explain else None)
    parts = {"latency": UNEVEN, "max_model_len": MODEL_LEN} | LINK | parts
    return run(requests, make_replica(log, kind=kind, scheduler=scheduler, kv=kv, **parts))


def pairs(scheduler: str, kv: str) -> st.SearchStrategy[tuple[Any, Any]]:
    schedulers = any_component(_scheduler(scheduler)).filter(_usable)
    return st.tuples(schedulers, any_component(KV_MANAGERS[kv]))


@law
def test_conservation_causality_and_exact_kv(scheduler: str, kv: str, data: st.DataObject):
    policy, parameters = data.draw(pairs(scheduler, kv))
    requests, manager = data.draw(any_requests()), made(parameters)
    table = _simulate(policy, manager, requests, LawfulEngine)
    rows = table.requests
    assert len(rows) == len(requests), "L1: a request is lost"
    assert set(rows["status"]) <= {"completed", "rejected"}, "L1: the run drains"
    done = rows[rows["status"] == "completed"]
    assert (done["arrival_s"] <= done["first_scheduled_s"]).all(), "L2"
    assert (done["first_scheduled_s"] < done["first_token_s"]).all(), "L2"
    assert (done["first_token_s"] <= done["last_token_s"]).all(), "L2"
    assert manager.free_blocks == manager.usable_blocks, "L4: blocks are held at the end"
    assert done["generated_tokens"].equals(done["output_tokens"]), "L10"
    tokens = table.spans.groupby("request")["tokens"].sum()
    assert tokens.reindex(done.index, fill_value=0).equals(done["generated_tokens"]), "L10"
    ends = table.iteration_end_s[0]
    assert (np.diff(ends) > 0).all(), "L3"


def test_the_laws_saw_plans_that_write():
    """L5 would hold for plans that write nothing; make sure that some did."""
    _simulate(SCHEDULERS["vllm"](), KV_MANAGERS["paged"](50), [make_request()], LawfulEngine)
    assert True in PLANS_SEEN


@law
def test_stretches_change_no_byte(scheduler: str, kv: str, data: st.DataObject):
    policy, manager = data.draw(pairs(scheduler, kv))
    requests = data.draw(any_requests())
    noise = data.draw(st.sampled_from([None, StepNoise({"p05": -30.0, "p95": 40.0}, 1, 0)]))
    one_by_one = _simulate(
        policy,
        manager,
        requests,
        longest_stretch=1,
        explain=True,
        noise=noise,
    )
    at_once = _simulate(policy, manager, requests, noise=noise)
    assert_same(at_once, one_by_one)


@law
def test_same_point_same_bytes(scheduler: str, kv: str, data: st.DataObject):
    policy, manager = data.draw(pairs(scheduler, kv))
    requests = data.draw(any_requests())
    first = _simulate(policy, manager, requests, explain=True, longest_stretch=1)
    again = _simulate(policy, manager, requests, explain=True)
    assert_same(first, again)
    assert first.decisions is not None
    assert first.decisions.equals(again.decisions)
    decided_once_per_iteration(first)


def decided_once_per_iteration(tables: RunTables) -> None:
    """Nobody is said to run and not to run in one iteration, and who did not run has a reason."""
    log = tables.decisions
    assert log is not None
    single = log[log["count"] == 1]
    assert not single.duplicated(["request", "iteration"]).any()
    idle = log["decision"].isin(["paused", "passed_over", "evicted", "swapped_out"])
    assert (log.loc[idle, "reason"] != "").all()
    assert (log["last_iteration"] >= log["iteration"] + log["count"] - 1).all()
    admitted = log[log["decision"] == "admitted"].groupby("request").size()
    evicted = log[log["decision"] == "evicted"].groupby("request").size()
    preempted = evicted.reindex(tables.requests.index, fill_value=0)
    assert preempted.equals(tables.requests["num_preemptions"].rename(None))
    done = tables.requests["status"] == "completed"
    expected = (preempted + 1)[done]
    assert admitted.reindex(expected.index, fill_value=0).equals(expected)


@law
def test_policies_never_see_the_true_output_length(scheduler: str, kv: str, data: st.DataObject):
    policy, manager = data.draw(pairs(scheduler, kv))
    requests = data.draw(any_requests())
    plain = _simulate(policy, manager, requests)
    assert_same(plain, _simulate(Blindfolded(made(policy)), manager, requests, explain=True))


class Blindfolded:
    """A scheduler that is handed seqs with nothing but what `SequenceView` declares (law L8)."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._views: dict[int, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheduler, name)

    def submit(self, seq: Sequence) -> bool | None:
        self._views[seq.id] = _Blind(seq)
        return self._scheduler.submit(self._views[seq.id])

    def finished(self, seq: Sequence) -> None:
        self._scheduler.finished(self._views.pop(seq.id))

    def plan(self, view: Any) -> Plan:
        return self._scheduler.plan(_BlindView(view, self._views))


class _BlindView:
    """An engine whose batch holds nothing but blindfolded sequences."""

    def __init__(self, view: Any, seqs: dict[int, Any]) -> None:
        self._view = view
        self.batch = _BlindBatch(view.batch, seqs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)


class _BlindBatch:
    def __init__(self, batch: Any, seqs: dict[int, Any]) -> None:
        self._running = {seq.id: seqs[seq.id] for seq in batch}
        self.outside = {number: seqs[number] for number in batch.outside}
        self.by_class = tuple(batch.by_class)
        self.last = next(reversed(self._running.values()), None)

    def __len__(self) -> int:
        return len(self._running)

    def __iter__(self) -> Any:
        return iter(self._running.values())

    def __contains__(self, seq: Any) -> bool:
        return seq.id in self._running


def _declared() -> set[str]:
    """What `SequenceView` declares, by its source: a compiled protocol has no annotations."""
    tree = ast.parse(Path(sequence.__file__).with_name("sequence.py").read_text())
    (port,) = (x for x in tree.body if isinstance(x, ast.ClassDef) and x.name == "SequenceView")
    fields = {x.target.id for x in port.body if isinstance(x, ast.AnnAssign)}
    return fields | {x.name for x in port.body if isinstance(x, ast.FunctionDef)}


DECLARED = _declared()


class _Blind:
    def __init__(self, seq: Sequence) -> None:
        object.__setattr__(self, "_Blind__seq", seq)

    def __getattr__(self, name: str) -> Any:
        assert name in DECLARED, f"L8: the policy reads {name}"
        return getattr(self.__seq, name)


def assert_same(a: RunTables, b: RunTables) -> None:
    """Equal tables, and equal token times."""
    assert a.requests.equals(b.requests)
    assert a.steps.equals(b.steps)
    for name in ("spans", "exceptions"):
        x, y = (getattr(tables, name) for tables in (a, b))
        order = list(x.columns)
        assert x.sort_values(order, ignore_index=True).equals(
            y.sort_values(order, ignore_index=True)
        )
    assert all(
        np.array_equal(x, y) for x, y in zip(a.iteration_end_s, b.iteration_end_s, strict=True)
    )


@law
def test_looking_at_any_instant_changes_no_byte(scheduler: str, kv: str, data: st.DataObject):
    """L13; and what is seen is the same whether iterations are planned one by one or at once."""
    policy, manager = data.draw(pairs(scheduler, kv))
    requests, probes = data.draw(any_requests()), data.draw(any_probes())
    kind = data.draw(st.sampled_from([Engine, AsyncEngine]))
    parts = {"latency": data.draw(st.sampled_from([UNEVEN, EIGHTH])), "max_model_len": MODEL_LEN}

    def watch(looks: bool, **more: Any) -> tuple[RunTables, list[Load]]:
        log, router = RunLog(), Watching(looks)
        system = {"scheduler": policy, "kv": manager}
        engine = make_replica(log, kind=kind, **system, **parts, **LINK, **more)
        sources = [OpenLoop(requests), OpenLoop(probes)]
        return run(sources, engine, make_replica(log, 1), router=router), router.seen

    unseen, _ = watch(looks=False)
    at_once, seen = watch(looks=True)
    one_by_one, expected = watch(looks=True, longest_stretch=1)
    assert_same(unseen, at_once)
    assert_same(unseen, one_by_one)
    assert seen == expected, "L13: an engine looks different inside a stretch"


PROBE = 61
"""Prompt tokens by which a probe is known."""
EIGHTH = Linear(prefill_ms=125.0, decode=DecodeLine(const_ms=125.0)).make()
"""Iterations end at instants at which others arrive."""


def any_probes() -> st.SearchStrategy[list[Request]]:
    """Instants, as requests for an engine of their own."""
    ticks = st.lists(st.integers(0, 6000), min_size=1, max_size=30).map(sorted)
    return ticks.map(
        lambda at: [
            make_request(i, arrival_s=t / 512, prompt=PROBE, output=1) for i, t in enumerate(at)
        ]
    )


class Watching(RoundRobin):
    """Looks at engine 0 whenever a request for engine 1 arrives."""

    def __init__(self, looks: bool) -> None:
        super().__init__()
        self.looks = looks
        self.seen: list[Load] = []

    def route(self, request: Request, replicas: Any) -> int:
        if request.prompt_tokens != PROBE:
            return 0
        if self.looks:
            engine = replicas[0]
            engine.catch_up(on_grid(request.arrival_s))
            engine.kv.check(engine.holders())
            self.seen.append(engine.load())
        return 1


def test_changing_the_system_leaves_arrivals_identical():
    requests = [make_request(i, arrival_s=0.1 * i) for i in range(50)]
    runs = [
        run(requests, make_replica(latency=latency, scheduler=SCHEDULERS["vllm"](policy=policy)))
        for latency, policy in [(UNEVEN, "fcfs"), (UNEVEN, "priority")]
    ]
    arrivals = [table.requests[["request_id", "arrival_s", "prompt_tokens"]] for table in runs]
    assert arrivals[0].equals(arrivals[1]), "L9"


@pytest.mark.parametrize(
    "answer",
    [Plan(), Plan(repeat=7)],
)
def test_an_empty_plan_with_work_waiting_is_a_livelock(answer: Plan):
    class Idle(VllmScheduler):
        def plan(self, view: Any) -> Plan:
            return answer

    with pytest.raises(LawBroken, match=r"L7: empty plan at 0\.0 s with 1 requests waiting"):
        run([make_request()], make_replica(scheduler=Idle(VllmParameters())))


def _leak(kv: Any) -> None:
    kv._pool.free -= 1


def _lose_a_seq(kv: Any) -> None:
    kv._tables.clear()


@pytest.mark.parametrize("fault", [_leak, _lose_a_seq])
def test_the_kv_check_sees_a_broken_manager(fault: Callable[[Any], None]):
    replica = make_replica()
    replica.submit(Sequence(0, make_request(), 0.0))
    replica.begin(0.0)
    replica.kv.check(replica.holders())
    fault(replica.kv)
    with pytest.raises(LawBroken, match="L4"):
        replica.kv.check(replica.holders())


@given(data=st.data())
@settings(max_examples=min(80, settings().max_examples))
def test_vllm_conserves_work(data: st.DataObject):
    """L12: the head of the queue waits only for budget, a seat, memory, or after a preemption."""
    policy, manager = data.draw(pairs("vllm", "paged"))
    requests = data.draw(any_requests())

    class Conserving(Engine):
        def begin(self, t: float) -> list[Sequence]:
            refused = super().begin(t)
            waiting = list(self.scheduler.waiting_seqs())
            if self.plan is not None and waiting and not self.plan.evicted:
                self.head_is_blocked(waiting[0])
            return refused

        def head_is_blocked(self, head: SequenceView) -> None:
            running = len(self.batch)
            decodes = self.num_decodes
            used = sum(tokens for _, tokens in self.plan.chunks) + decodes
            left = policy.max_num_batched_tokens - used
            hit = self.kv.lookup(head)
            tokens = head.num_tokens - len(hit) * self.kv.block_size
            tokens = min(tokens, policy.long_prefill_token_threshold or tokens)
            if not policy.enable_chunked_prefill and tokens > left:
                return
            if left <= 0 or running >= policy.max_num_seqs:
                return
            mark = self.kv.mark()
            fits = self.kv.admit(
                head,
                len(hit) * self.kv.block_size + min(tokens, left),
                hit,
                must_fit=head.num_tokens if policy.scheduler_reserve_full_isl else 0,
                spare=int(policy.watermark * self.kv.num_gpu_blocks) if running else 0,
            )
            self.kv.rollback(mark)
            assert not fits, f"L12: {head.id} could run at {self.now}"

    _simulate(replace(policy), manager, requests, Conserving)
