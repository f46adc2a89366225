"""The decision log: every reason of every policy, and what becomes one row."""

import pytest
from simulations import ONE_SECOND, UNEVEN, make_replica, make_request, run

from bros_sim.core.request import ServiceClass, Slo
from bros_sim.engine import reasons
from bros_sim.engine.decision_log import Decision, DecisionLog
from bros_sim.engine.record import RunLog
from bros_sim.kv.bidirectional import BidirectionalKV
from bros_sim.kv.paged import PagedKV
from bros_sim.kv.parameters import BidirectionalParameters, PagedParameters, ReservedParameters
from bros_sim.kv.reserved import ReservedKV
from bros_sim.latency.linear import DecodeLine, Linear
from bros_sim.report.story import REASONS
from bros_sim.schedulers import SCHEDULERS
from bros_sim.schedulers.vllm import VllmScheduler
from bros_sim.schedulers.vllm_parameters import VllmParameters

RT, BE = ServiceClass.RT, ServiceClass.BE
PER_TOKEN = Linear(prefill_per_token_ms=1.0, decode=DecodeLine(const_ms=10.0))
"""A prompt token costs 1 ms, a decode iteration 10 ms."""


def paged(blocks=1000, **parameters):
    return PagedKV(
        PagedParameters(num_gpu_blocks=blocks + 1, enable_prefix_caching=False, **parameters)
    )


def log_of(kind, requests, *, kv=None, latency=ONE_SECOND, **parameters):
    """The decision log of one replica as dicts, in order."""
    log = RunLog(decisions=DecisionLog())
    parts = {"scheduler": SCHEDULERS[kind](**parameters), "kv": kv or paged(), "latency": latency}
    tables = run(requests, make_replica(log, **parts))
    assert (tables.requests["status"] == "completed").all()
    return tables.decisions.to_dict("records")


def found(rows, decision, reason):
    """The first row with that decision and reason."""
    return next(row for row in rows if (row["decision"], row["reason"]) == (decision, reason))


def be(index=0, **parts):
    return make_request(index, service_class=BE, **parts)


def two(**parts):
    return [make_request(0, **parts), make_request(1, **parts)]


# -- vLLM ---------------------------------------------------------------------------------------


def test_vllm_head_lacks_budget():
    rows = log_of("vllm", two(prompt=8), max_num_batched_tokens=8, max_num_seqs=8)
    row = found(rows, "passed_over", reasons.BUDGET)
    assert (row["request"], row["time_s"], row["value"], row["limit"]) == (1, 0.0, 8, 0)


def test_vllm_head_lacks_a_seat_until_the_other_is_done():
    rows = log_of("vllm", two(output=5), max_num_seqs=1)
    row = found(rows, "passed_over", reasons.SEATS)
    assert (row["request"], row["count"], row["last_iteration"], row["limit"]) == (1, 5, 4, 1)
    assert rows[-1]["decision"] == "admitted"
    assert rows[-1]["iteration"] == 5


def test_vllm_head_lacks_memory():
    rows = log_of("vllm", two(prompt=33), kv=paged(4))
    row = found(rows, "passed_over", reasons.MEMORY)
    assert (row["request"], row["value"], row["limit"]) == (1, 3, 1)


def test_vllm_evicts_the_last_for_the_first():
    rows = log_of("vllm", [*two(prompt=15, output=10), make_request(2)], kv=paged(2))
    row = found(rows, "evicted", reasons.MEMORY)
    assert (row["request"], row["other"], row["tokens"]) == (1, 0, 16)


def test_vllm_admits_nobody_after_a_preemption():
    requests = [
        be(0, prompt=15, output=10),
        be(1, prompt=15, output=10),
        make_request(2, arrival_s=2.0, prompt=15),
    ]
    rows = log_of("vllm", requests, kv=paged(2), policy="priority")
    row = found(rows, "passed_over", reasons.AFTER_PREEMPTION)
    assert (row["request"], row["other"]) == (2, 1)


def test_vllm_running_prompt_lacks_budget():
    """A prompt of 8 takes a budget of 4 for two iterations; the second one is under way then."""
    requests = [make_request(0, prompt=7, output=4), make_request(1, prompt=8)]
    rows = log_of("vllm", requests, max_num_batched_tokens=4, max_num_seqs=2)
    row = found(rows, "passed_over", reasons.BUDGET)
    assert (row["request"], row["value"], row["limit"]) == (1, 8, 0)


# -- vLLM 0.2-0.4 -------------------------------------------------------------------------------


def test_v0_decodes_stand_still_while_a_prompt_runs():
    rows = log_of("vllm_v0", [make_request(0, output=5), make_request(1, arrival_s=1.5)])
    row = found(rows, "passed_over", reasons.PROMPTS_FIRST)
    assert (row["request"], row["other"], row["time_s"]) == (0, 1, 2.0)


@pytest.mark.parametrize(
    ("parameters", "blocks", "reason"),
    [
        ({"max_num_seqs": 1}, 100, reasons.SEATS),
        ({"max_num_batched_tokens": 40}, 100, reasons.BUDGET),
        ({}, 4, reasons.MEMORY),
    ],
)
def test_v0_head_lacks(parameters, blocks, reason):
    rows = log_of("vllm_v0", two(prompt=33), kv=paged(blocks), **parameters)
    assert found(rows, "passed_over", reason)["request"] == 1


def test_v0_swaps_the_last_out_and_brings_it_back_before_others_join():
    requests = [*two(prompt=15, output=10), make_request(2, arrival_s=2.5)]
    kv = paged(3, cpu_blocks=9)
    rows = log_of("vllm_v0", requests, kv=kv, preemption_mode="swap", watermark=0.0)
    assert found(rows, "swapped_out", reasons.MEMORY)["request"] == 1
    assert found(rows, "passed_over", reasons.MEMORY)["request"] == 1
    row = found(rows, "passed_over", reasons.SWAPPED_FIRST)
    assert (row["request"], row["other"]) == (2, 1)
    assert found(rows, "resumed", "")["request"] == 1


def test_v0_recomputes():
    rows = log_of("vllm_v0", two(prompt=15, output=10), kv=paged(2))
    assert found(rows, "evicted", reasons.MEMORY)["request"] == 1


# -- TGI ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "blocks", "reason", "value", "limit"),
    [
        ({"max_batch_prefill_tokens": 40}, 200, reasons.BUDGET, 33, 7),
        ({"max_batch_size": 1}, 200, reasons.SEATS, 1, 1),
        ({}, 60, reasons.MEMORY, 38, 21),
    ],
)
def test_tgi_head_lacks(parameters, blocks, reason, value, limit):
    kv = ReservedKV(ReservedParameters(num_gpu_blocks=blocks))
    rows = log_of("tgi", two(prompt=33), kv=kv, chunking=False, **parameters)
    row = found(rows, "passed_over", reason)
    assert (row["request"], row["time_s"], row["value"], row["limit"]) == (1, 0.0, value, limit)


def test_tgi_decodes_stand_still_for_enough_newcomers():
    requests = [*two(output=9), make_request(2, arrival_s=1.5), make_request(3, arrival_s=3.5)]
    parts = {
        "kv": ReservedKV(ReservedParameters(num_gpu_blocks=999)),
        "chunking": False,
        "waiting_served_ratio": 1.0,
    }
    rows = log_of("tgi", requests, **parts)
    row = found(rows, "passed_over", reasons.TOO_FEW)
    assert (row["request"], row["count"], row["value"], row["limit"]) == (2, 2, 1, 2)
    rows = [row for row in rows if row["reason"] == reasons.PROMPTS_FIRST]
    assert [(row["request"], row["other"], row["time_s"]) for row in rows] == [
        (0, 2, 4.0),
        (1, 2, 4.0),
    ]


def test_tgi_admits_in_every_second_forward():
    requests = [make_request(i, arrival_s=at, output=9) for i, at in enumerate((0.0, 0.5, 1.5))]
    rows = log_of("tgi", requests, kv=ReservedKV(ReservedParameters(num_gpu_blocks=999)))
    row = found(rows, "passed_over", reasons.EVERY_SECOND)
    assert (row["request"], row["time_s"], row["count"]) == (2, 2.0, 1)


# -- BROS-RR ------------------------------------------------------------------------------------


def test_rr_classes_take_turns():
    rows = log_of("bros_rr", [make_request(0, output=5), be(1, output=5)])
    row = found(rows, "paused", reasons.OTHER_CLASS)
    assert (row["request"], row["count"]) == (0, 4)
    assert found(rows, "resumed", "")["count"] == 4


def test_rr_takes_memory_from_best_effort():
    rows = log_of("bros_rr", [be(0, prompt=30), make_request(1, arrival_s=0.5)], kv=paged(2))
    row = found(rows, "evicted", reasons.MEMORY)
    assert (row["request"], row["other"]) == (0, 1)
    assert found(rows, "passed_over", reasons.MEMORY)["request"] == 0


@pytest.mark.parametrize(
    ("parameters", "blocks", "reason"),
    [
        ({"batch_cap": 1}, 100, reasons.BATCH_CAP),
        ({"max_num_batched_tokens": 40}, 100, reasons.BUDGET),
        ({}, 4, reasons.MEMORY),
    ],
)
def test_rr_head_lacks(parameters, blocks, reason):
    rows = log_of("bros_rr", two(prompt=33), kv=paged(blocks), **parameters)
    assert found(rows, "passed_over", reason)["request"] == 1


# -- BROS ---------------------------------------------------------------------------------------

EXACT = {"overhead_share": 0.0, "watermark": 0.0}


def test_bros_names_the_deadline_that_binds():
    requests = [
        make_request(0, prompt=600, slo=Slo(1.0, 10.0)),
        make_request(1, prompt=600, slo=Slo(2.0, 10.0)),
    ]
    rows = log_of("bros", requests, latency=PER_TOKEN, **EXACT)
    row = found(rows, "passed_over", reasons.DEADLINE)
    assert (row["request"], row["other"], row["value"], row["limit"]) == (1, 0, 1.2, 1.0)


def test_bros_batch_cap():
    rows = log_of("bros", two(slo=Slo(99.0, 99.0)), batch_cap=1, batch_cap_max=1, **EXACT)
    row = found(rows, "passed_over", reasons.BATCH_CAP)
    assert (row["request"], row["limit"]) == (1, 1)


def test_bros_waiting_best_effort_lacks_memory():
    rows = log_of("bros", [be(0, prompt=33), be(1, prompt=33)], kv=paged(4), **EXACT)
    row = found(rows, "passed_over", reasons.MEMORY)
    assert (row["request"], row["value"], row["limit"]) == (1, 3, 1)


def test_bros_drops_best_effort_for_real_time():
    requests = [be(0, prompt=30, output=2), make_request(1, arrival_s=0.5, slo=Slo(9.0, 9.0))]
    rows = log_of("bros", requests, kv=paged(2), **EXACT)
    row = found(rows, "evicted", reasons.MEMORY)
    assert (row["request"], row["other"], row["tokens"]) == (0, 1, 30)


def test_bros_puts_best_effort_in_the_place_of_slack():
    requests = [make_request(0, output=30, slo=Slo(90.0, 90.0)), be(1, arrival_s=0.005)]
    rows = log_of("bros", requests, latency=PER_TOKEN, batch_cap=1, batch_cap_max=1, **EXACT)
    row = found(rows, "paused", reasons.REPLACED)
    assert (row["request"], row["other"]) == (0, 1)
    assert found(rows, "resumed", "")["request"] == 0


def test_bros_lends_blocks_and_says_who_waits_for_memory():
    requests = [be(0, prompt=30, output=2), make_request(1, arrival_s=0.5, slo=Slo(9.0, 9.0))]
    kv = BidirectionalKV(BidirectionalParameters(num_gpu_blocks=3))
    rows = log_of("bros", requests, kv=kv, **EXACT)
    assert found(rows, "paused", reasons.MEMORY)["request"] == 0
    assert not [row for row in rows if row["decision"] == "evicted"]


# -- any policy, and the log itself -------------------------------------------------------------


def test_a_policy_that_gives_no_reasons_is_logged_without():
    class Silent(VllmScheduler):
        def plan(self, view):
            return super().plan(view)._replace(notes=())

    log = RunLog(decisions=DecisionLog())
    replica = make_replica(log, scheduler=Silent(VllmParameters()), kv=paged(2))
    rows = run(two(prompt=15, output=10), replica).decisions.to_dict("records")
    whats = [(row["request"], row["decision"], row["reason"]) for row in rows]
    assert whats == [
        *((i, "admitted", "") for i in (0, 1)),
        (1, "evicted", ""),
        (1, "admitted", ""),
    ]


def test_without_a_log_no_policy_is_asked_for_reasons():
    seen = []

    class Watched(VllmScheduler):
        def plan(self, view):
            plan = super().plan(view)
            seen.append((view.explain, plan.notes, plan.repeat))
            return plan

    table = run(
        two(output=50),
        make_replica(scheduler=Watched(VllmParameters(max_num_seqs=1)), latency=UNEVEN),
    )
    assert table.decisions is None
    assert all(not asked and notes == () for asked, notes, _ in seen)
    assert len(seen) < 10


def test_equal_decisions_are_one_row_until_the_next_admission_or_eviction():
    log = DecisionLog()
    for at, (what, reason, other) in enumerate(
        [
            ("passed_over", "memory", 7),
            ("passed_over", "memory", 8),
            ("admitted", "", None),
            ("paused", "batch_cap", None),
            ("resumed", "", None),
            ("paused", "batch_cap", None),
            ("evicted", "memory", 7),
            ("passed_over", "memory", 9),
        ]
    ):
        log.add(0, at / 2, at, Decision(3, what, 0, reason, other))
    rows = [(row[4], row[6], row[10], row[2], row[11]) for row in log.rows()]
    assert rows == [
        ("passed_over", 7, 2, 0.0, 0.5),
        ("admitted", None, 1, 1.0, 1.0),
        ("paused", None, 2, 1.5, 2.5),
        ("resumed", None, 1, 2.0, 2.0),
        ("evicted", 7, 1, 3.0, 3.0),
        ("passed_over", 9, 1, 3.5, 3.5),
    ]
    assert log.interrupted(3)
    assert not log.interrupted(4)


def test_every_reason_has_words():
    assert set(REASONS) == {v for k, v in vars(reasons).items() if k.isupper()}
