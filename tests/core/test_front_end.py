"""The front end of an engine, and clients with a cap, seen through when requests are queued."""

from simulations import make_replica, make_request

from bros_sim.cluster.cluster import Pool, simulate
from bros_sim.cluster.front_end import FrontEnd
from bros_sim.cluster.routers.routing import RoundRobin
from bros_sim.engine.record import RunLog
from bros_sim.metrics.tables import run_tables
from bros_sim.workload.streams import ClosedLoop, OpenLoop


def run(sources, front_end=None, duration_s=100.0, drain_s=100.0):
    log = RunLog()
    pool = Pool(1, lambda number, log: make_replica(log, number), front_end=front_end)
    return run_tables(
        simulate(
            pools=[pool], router=RoundRobin(), sources=sources, log=log, duration_s=duration_s,
            drain_s=drain_s,
        )
    ).requests  # fmt: skip


def test_a_request_is_queued_when_its_prompt_is_tokenised():
    costs = FrontEnd(ingest_s=0.25, per_prompt_token_s=0.0625)
    table = run([OpenLoop([make_request(0, arrival_s=1.0, prompt=8)])], costs)
    assert table["arrival_s"].tolist() == [1.0]
    assert table["queued_s"].tolist() == [1.75]
    assert table["first_token_s"].tolist() == [2.75]


def test_requests_that_run_delay_the_next_one():
    costs = FrontEnd(per_running_s=0.125)
    requests = [make_request(n, arrival_s=n / 2, output=9) for n in range(3)]
    assert run([OpenLoop(requests)], costs)["queued_s"].tolist() == [0.0, 0.625, 1.125]


def test_the_front_end_takes_no_more_than_its_limit():
    requests = [make_request(n) for n in range(4)]
    queued = run([OpenLoop(requests)], FrontEnd(spacing_s=0.5))["queued_s"].tolist()
    assert queued == [0.0, 0.5, 1.0, 1.5]


def test_what_is_still_at_the_front_end_at_the_end_is_unfinished():
    table = run([OpenLoop([make_request()])], FrontEnd(ingest_s=50.0), duration_s=1.0, drain_s=1.0)
    assert table["status"].tolist() == ["unfinished"]


def test_a_client_hears_of_a_request_that_is_rejected_behind_the_front_end():
    """It waits a second after each, as without a front end, and does not hang."""
    loop = ClosedLoop(1, 0.0, False, lambda n, s: make_request(n, arrival_s=s, prompt=10**6))
    table = run([loop], FrontEnd(ingest_s=0.5), duration_s=4.0)
    assert table["arrival_s"].tolist() == [0.0, 1.5, 3.0]
    assert set(table["status"]) == {"rejected"}


def test_a_capped_client_sends_when_another_request_is_answered():
    """Three requests of 3 s, due at once, two at a time; the fourth is due later than a seat."""
    requests = [make_request(n, arrival_s=0.0 if n < 3 else 8.5) for n in range(4)]
    table = run([OpenLoop(requests, max_in_flight=2)])
    assert table["arrival_s"].tolist() == [0.0, 0.0, 3.0, 8.5]


def test_a_cap_that_is_never_reached_changes_nothing():
    requests = [make_request(n, arrival_s=n / 3) for n in range(9)]
    free, capped = (run([OpenLoop(requests, max_in_flight=most)]) for most in (None, 9))
    assert free.equals(capped)
