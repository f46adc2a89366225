"""TGI, rule by rule and forward by forward; every forward takes 1 s."""

import math
import random
from collections import deque

import pytest
from simulations import make_replica, make_request, run
from tgi_model import Asked, Tgi

from bros_sim.core.errors import InputError, LawBroken
from bros_sim.core.request import Request, ServiceClass, Slo
from bros_sim.core.world import World
from bros_sim.engine.sequence import Sequence
from bros_sim.kv.paged import PagedKV
from bros_sim.kv.parameters import PagedParameters, ReservedParameters
from bros_sim.kv.reserved import ReservedKV
from bros_sim.schedulers.tgi import TgiParameters, TgiQueue, TgiScheduler
from tests.cli.conftest import EXPERIMENT
from tests.config.test_experiment import points

AMPLE = 100_000


def asked(*shapes):
    """Requests of (prompt, output), with or without an arrival; the cap is the output."""
    return [
        Asked(i, float(sum(at)), prompt, output, output)
        for i, (prompt, output, *at) in enumerate(shapes)
    ]


def tgi(*, total=AMPLE, block=1, **policy):
    """A replica of TGI with that much KV, in tokens."""
    kv = ReservedKV(ReservedParameters(num_gpu_blocks=total // block, block_size=block))
    return make_replica(scheduler=TgiScheduler(TgiParameters(**policy)), kv=kv, max_model_len=AMPLE)


def forwards(replica, requests):
    """Tokens that each request computes, forward by forward; and who is refused."""
    coming, log, refused, now = deque(requests), [], [], 0.0
    while True:
        while coming and coming[0].arrival <= now:
            submit(replica, coming.popleft(), refused)
        replica.begin(now)
        if not replica.busy:
            if not coming:
                return log, refused
            now = coming[0].arrival
            continue
        plan = replica.plan
        seqs = {seq.id: tokens for seq, tokens in plan.chunks}
        decodes = [seq.id for seq in replica.batch if seq.decoding and not plan.stalls]
        while coming and coming[0].arrival <= replica.due:
            replica.catch_up(coming[0].arrival)
            submit(replica, coming.popleft(), refused)
        end_s = replica.due
        log += [seqs | dict.fromkeys(decodes, 1)] * round(end_s - now)
        replica.proceed()
        replica.kv.check(replica.holders())
        now = end_s


def submit(replica, one, refused):
    request = Request(
        "test", one.number, ServiceClass.RT, one.arrival, one.prompt, one.output, one.max_new, Slo()
    )
    if replica.submit(Sequence(one.number, request, one.arrival)) is not None:
        refused.append(one.number)


# -- the worked examples of TGI's rules ----------------------------------------------------------


def queue_of(count, *, prompt=1, chunking=False):
    """A queue of requests with one token to generate."""
    queue = TgiQueue(chunking=chunking)
    for i in range(count):
        request = make_request(i, prompt=prompt, output=1)
        queue.append(Sequence(i, request, 0.0))
    return queue


def sizes(queue, **limits):
    """How many leave the queue, and how many stay."""
    kv = ReservedKV(ReservedParameters(num_gpu_blocks=16))
    return len(queue.next_batch(kv, **limits).taken), len(queue)


def test_example_a_the_budget_bounds_a_batch():
    queue = queue_of(2)
    assert sizes(queue, budget=1) == (1, 1)
    queue.append(Sequence(2, make_request(2, prompt=1, output=1), 0.0))
    assert sizes(queue, budget=3) == (2, 0)


def test_example_b_a_batch_has_its_least_and_its_greatest_size():
    assert sizes(queue_of(2), budget=2, min_size=0) == (2, 0)
    assert sizes(queue_of(1), budget=2, min_size=2) == (0, 1)
    assert sizes(queue_of(2), budget=2, max_size=1) == (1, 1)
    assert sizes(queue_of(2), budget=2, max_size=0) == (0, 2)


def test_a_batch_below_its_least_size_goes_back_in_order():
    queue, kv = queue_of(4, prompt=5), ReservedKV(ReservedParameters(num_gpu_blocks=16))
    batch = queue.next_batch(kv, budget=99, min_size=4)
    assert batch.taken == ()
    assert ([seq.id for seq in queue], kv.free_blocks) == ([0, 1, 2, 3], 15)


def test_example_c_memory_is_reserved_for_life():
    replica = tgi(total=1616, block=16, chunking=False, max_batch_prefill_tokens=512)
    assert replica.kv.usable_blocks == 100
    log, _ = forwards(replica, asked((300, 100), (200, 100), (100, 500), (60, 400)))
    assert log[:3] == [{0: 300, 1: 200}, {2: 100}, {0: 1, 1: 1, 2: 1}]
    assert log[3:101] == [{0: 1, 1: 1, 2: 1}] * 98
    assert log[101] == {3: 60}


@pytest.mark.parametrize(("waiting", "decodes"), [(5, 19), (11, 19), (12, 0)])
def test_example_d_few_wait_until_nobody_came_for_long(waiting, decodes):
    requests = asked(*[(10, 99)] * 40, *[(10, 9, 0.5)] * waiting)
    log, _ = forwards(tgi(chunking=False), requests)
    assert log[1 : 1 + decodes] == [dict.fromkeys(range(40), 1)] * decodes
    assert log[1 + decodes] == dict.fromkeys(range(40, 40 + waiting), 10)


def test_example_d_after_a_quiet_time_one_is_enough():
    log, _ = forwards(tgi(chunking=False), asked(*[(10, 99)] * 40, (10, 9, 30.5)))
    assert next(at for at, seqs in enumerate(log) if 40 in seqs) == 31


def test_example_e_the_newest_prompt_is_cut():
    replica = tgi(max_batch_prefill_tokens=512)
    log, _ = forwards(replica, asked((1000, 4), (300, 3)))
    assert log == [{0: 512}, {0: 488, 1: 24}, {0: 1, 1: 276}, {0: 1, 1: 1}, {0: 1, 1: 1}]


def test_example_f_newcomers_join_in_every_second_forward():
    arrivals = [(50, 99, at + 0.5) for at in range(20)]
    log, _ = forwards(tgi(max_batch_prefill_tokens=512), asked(*[(10, 99)] * 10, *arrivals))
    joined = [sum(tokens == 50 for tokens in seqs.values()) for seqs in log[:20]]
    assert joined == [0, 1, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2]
    assert all(len(seqs) == 10 + sum(joined[: at + 1]) for at, seqs in enumerate(log[:20]))


# -- the loop, against its transcription ---------------------------------------------------------


def any_workload(rng):
    """A few small requests, some of them at one instant, and limits that bind."""
    count, window = rng.randint(1, 12), rng.choice([0, 4, 15, 40])
    times = sorted(rng.randint(0, 2 * window) / 2 for _ in range(count))
    caps = [rng.randint(1, 14) for _ in times]
    return [
        Asked(i, at, rng.randint(1, rng.choice([6, 60])), cap, rng.randint(1, cap))
        for i, (at, cap) in enumerate(zip(times, caps, strict=True))
    ]


def any_limits(rng, requests, *, chunking):
    longest = max(r.prompt for r in requests)
    block = rng.choice([1, 4, 16])
    least = max(math.ceil((r.prompt + r.max_new - 1) / block) for r in requests) + 1
    prefill = rng.choice([8, 20, 64, 150])
    return {
        "total": (least + rng.choice([0, 3, 20, 400])) * block,
        "block": block,
        "prefill": prefill if chunking else max(prefill, longest),
        "chunking": chunking,
        "ratio": rng.choice([0.0, 0.3, 0.7, 1.2]),
        "most_waiting": rng.choice([0, 1, 3, 20]),
        "batch_limit": rng.choice([None, 1, 2, 5]),
        "concurrent": rng.choice([3, 6, 128, 128]),
        "longest_total": rng.choice([None, None, 50]),
    }


def replica_like(limits):
    return tgi(
        total=limits["total"],
        block=limits["block"],
        chunking=limits["chunking"],
        max_batch_prefill_tokens=limits["prefill"],
        waiting_served_ratio=limits["ratio"],
        max_waiting_tokens=limits["most_waiting"],
        max_batch_size=limits["batch_limit"],
        max_concurrent_requests=limits["concurrent"],
        max_total_tokens=limits["longest_total"],
    )


@pytest.mark.parametrize("longest_stretch", [1, 4096])
@pytest.mark.parametrize("chunking", [False, True])
def test_every_forward_is_that_of_the_loop(chunking, longest_stretch):
    """4 x 1,000 random workloads; a stretch advances many forwards at once."""
    for seed in range(1000):
        rng = random.Random(f"{seed} {chunking} {longest_stretch}")
        requests = any_workload(rng)
        limits = any_limits(rng, requests, chunking=chunking)
        replica = replica_like(limits)
        replica.longest_stretch = longest_stretch
        found = forwards(replica, requests)
        loop = Tgi(**limits)
        loop.serve(requests)
        assert found == (loop.forwards, loop.refused), (seed, limits)


# -- further rules ------------------------------------------------------------------------------


def test_a_stall_costs_the_others_a_forward():
    replica = tgi(chunking=False)
    table = run([make_request(0, output=4), make_request(1, arrival_s=1.5, output=2)], replica)
    assert table.requests["last_token_s"].tolist() == [5.0, 4.0]
    assert table.exceptions["iteration"].tolist() == [2]


def test_the_ratio_is_taken_in_32_bits():
    """90 x 0.7 is 63 there, and 62 in 64 bits."""
    requests = asked(*[(10, 99)] * 90, *[(10, 9, 0.5)] * 62)
    replica = tgi(chunking=False, waiting_served_ratio=0.7, max_concurrent_requests=999)
    log, _ = forwards(replica, requests)
    assert log[1] == dict.fromkeys(range(90), 1)


def test_the_budget_is_rounded_up_to_blocks():
    replica = tgi(block=16, chunking=False, max_batch_prefill_tokens=500)
    log, _ = forwards(replica, asked((300, 2), (212, 2), (10, 2)))
    assert log[:2] == [{0: 300, 1: 212}, {2: 10}]


def test_decodes_count_against_the_budget_of_newcomers():
    replica = tgi(max_batch_prefill_tokens=20)
    log, _ = forwards(replica, asked(*[(2, 9)] * 8, (30, 2, 0.5)))
    assert [seqs[8] for seqs in log if 8 in seqs] == [12, 12, 6, 1]


def test_a_second_prompt_can_be_cut_before_the_first_is_done():
    """Two finish beside a long prompt; the room they leave goes to the next one, which goes on
    first."""
    replica = tgi(max_batch_prefill_tokens=20)
    log, _ = forwards(replica, asked((5, 3), (5, 3), (90, 2), (30, 2)))
    assert log[0] == {0: 5, 1: 5, 2: 10}
    assert log[1:3] == [{0: 1, 1: 1, 2: 18}] * 2
    assert log[3] == {2: 18, 3: 2}
    assert log[4] == {2: 1, 3: 19}


def test_seats_bind_later_batches_only_without_chunking():
    requests = asked((10, 9), (10, 9), (10, 9))
    chunked, _ = forwards(tgi(max_batch_size=2), requests)
    stalling, _ = forwards(tgi(max_batch_size=2, chunking=False), requests)
    assert chunked[:2] == [{0: 10, 1: 10}, {0: 1, 1: 1, 2: 10}]
    assert stalling[9] == {2: 10}


def test_what_is_reserved_is_the_cap_and_not_the_output():
    long = Asked(0, 0.0, 10, 80, 3)
    log, _ = forwards(tgi(total=100), [long, Asked(1, 0.0, 10, 5, 3)])
    assert log[:3] == [{0: 10}, {0: 1}, {0: 1}]
    log, _ = forwards(tgi(total=104), [long, Asked(1, 0.0, 10, 5, 3)])
    assert log[0] == {0: 10, 1: 10}


def test_whom_the_whole_memory_cannot_hold_is_rejected():
    _, refused = forwards(tgi(total=100), [Asked(0, 0.0, 10, 90, 3), Asked(1, 0.0, 10, 91, 3)])
    assert refused == [1]


def test_the_house_has_a_limit_and_who_leaves_makes_room():
    requests = [make_request(i, arrival_s=at) for i, at in enumerate((0.0, 0.0, 0.5, 3.0, 3.5))]
    table = run(requests, tgi(max_concurrent_requests=2))
    done, no = "completed", "rejected"
    assert table.requests["status"].tolist() == [done, done, no, no, done]


@pytest.mark.parametrize(
    ("limits", "refused"),
    [({}, []), ({"max_input_tokens": 9}, [0]), ({"max_total_tokens": 15}, [1])],
)
def test_requests_beyond_the_lengths_are_rejected(limits, refused):
    """The cap counts, not the output."""
    requests = [Asked(0, 0.0, 10, 5, 5), Asked(1, 0.0, 9, 7, 2)]
    assert forwards(tgi(**limits), requests)[1] == refused


def test_what_tgi_refuses_to_start_with():
    assert not TgiParameters().conflicts(World(8192))
    assert not TgiParameters(chunking=False).conflicts(World(4097))
    assert (
        "below max_input_tokens 4097: without"
        in TgiParameters(chunking=False).conflicts(World(4098))[0]
    )
    why = TgiParameters(max_input_tokens=50, max_total_tokens=50).conflicts(World(8192))[0]
    assert why == "max_input_tokens 50 should be below max_total_tokens 50"


def test_real_time_has_no_privilege():
    classes = [ServiceClass.BE, ServiceClass.RT]
    requests = [make_request(i, service_class=c, output=9) for i, c in enumerate(classes)]
    table = run(requests, tgi(total=40))
    assert table.requests["first_token_s"].tolist() == [1.0, 10.0]


# -- the KV manager -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "usable"),
    [
        ({"num_gpu_blocks": 101, "block_size": 16}, 100),
        ({"num_gpu_blocks": 101, "block_size": 16, "max_batch_total_tokens": 170}, 9),
        ({"num_gpu_blocks": 101}, 100),
    ],
)
def test_one_of_the_whole_blocks_is_never_used(parameters, usable):
    assert ReservedKV(ReservedParameters(**parameters)).usable_blocks == usable
    assert ReservedKV(ReservedParameters(**parameters)).free_blocks == usable


@pytest.mark.parametrize("tokens", [31, 1617])
def test_a_capacity_beyond_the_blocks_is_refused(tokens):
    with pytest.raises(ValueError, match=f"from 32, two blocks, to 1616, .*got {tokens}"):
        ReservedKV(
            ReservedParameters(num_gpu_blocks=101, block_size=16, max_batch_total_tokens=tokens)
        )


@pytest.mark.parametrize("fault", ["free_blocks", "_held"])
def test_the_check_sees_a_broken_manager(fault):
    replica = tgi()
    submit(replica, asked((10, 5))[0], [])
    replica.begin(0.0)
    replica.kv.check(replica.holders())
    setattr(replica.kv, fault, {"free_blocks": 7, "_held": {}}[fault])
    with pytest.raises(LawBroken, match="L4"):
        replica.kv.check(replica.holders())


def test_memory_on_demand_is_found_out():
    parts = {
        "scheduler": TgiScheduler(TgiParameters()),
        "kv": PagedKV(PagedParameters(num_gpu_blocks=3)),
    }
    with pytest.raises(LawBroken, match="does not reserve"):
        run([make_request(i, output=15) for i in range(2)], make_replica(**parts))


# -- from YAML ----------------------------------------------------------------------------------

TGI = EXPERIMENT.replace("{kind: vllm}, kv: {kind: paged}", "{kind: tgi}, kv: {kind: reserved}")


def limits(text, **changes):
    scheduler = points(text, **changes)[0].spec.system.scheduler
    longest, total = scheduler.max_input_tokens, scheduler.max_total_tokens
    return scheduler.max_batch_prefill_tokens, longest, total


def test_an_experiment_gives_tgi_its_limits():
    assert limits(TGI) == (4096, 8191, 8192)
    assert limits(TGI, cluster__max_model_len=2000) == (2000, 1999, 2000)
    assert limits(TGI, systems__FCFS__scheduler__max_total_tokens=900) == (4096, 899, 900)
    assert points(TGI)[0].spec.system.kv.num_gpu_blocks == 1 + 16 * (28220 - 1)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"kv": "{kind: paged}"}, "FCFS.kv: the scheduler never preempts: it needs a KV manager"),
        ({"kv": "{kind: bidirectional}"}, "FCFS.kv: the scheduler never preempts"),
        ({"kv__max_batch_total_tokens": 9_999_999}, "FCFS.kv: max_batch_total_tokens should be"),
        (
            {"scheduler__chunking": "false"},
            "FCFS.scheduler: max_batch_prefill_tokens 4096 is below",
        ),
        ({"scheduler__max_batch_size": 0}, "max_batch_size: should be"),
    ],
)
def test_what_does_not_go_together_is_a_fault(change, why):
    with pytest.raises(InputError, match=why):
        points(TGI, **{f"systems__FCFS__{key}": value for key, value in change.items()})
