"""Lengths and streams: what requests an experiment gets, and that they are always the same."""

from dataclasses import replace

import numpy as np
import pytest
from counting import calls_of

from bros_sim.core.errors import InputError
from bros_sim.core.request import ServiceClass, Slo
from bros_sim.workload.arrivals import Bag, Clients, Poisson
from bros_sim.workload.lengths import (
    Empirical,
    Exact,
    Fixed,
    FixedCap,
    Headroom,
    LogNormal,
    LogNormalLength,
    Mixture,
    Part,
    Uniform,
)
from bros_sim.workload.replay import Replay, TwinArrivals
from bros_sim.workload.streams import ClosedLoop, OpenLoop, Stream, build

RT, BE = ServiceClass.RT, ServiceClass.BE
SLO = Slo(0.4, 0.2)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_uniform_includes_both_ends():
    prompts, outputs = Uniform((512, 514), (1, 1)).sample(1000, rng())
    assert set(prompts.tolist()) == {512, 513, 514}
    assert set(outputs.tolist()) == {1}
    with pytest.raises(ValueError, match="upside down"):
        Uniform((5, 4), (1, 1))


def test_lognormal_median_cut_and_correlation():
    model = LogNormal(LogNormalLength(700, 0.9), LogNormalLength(150, 0.8, most=400), 0.7)
    prompts, outputs = model.sample(20_000, rng())
    assert np.median(prompts) == pytest.approx(700, rel=0.03)
    assert (outputs.min() >= 1, outputs.max()) == (True, 400)
    free = outputs < 400
    assert np.corrcoef(np.log(prompts[free]), np.log(outputs[free]))[0, 1] > 0.4


def test_mixture_takes_pairs_from_one_part():
    small, large = LogNormalLength(10, 0), LogNormalLength(1000, 0)
    parts = (Part(1, small, small), Part(3, large, large))
    prompts, outputs = Mixture(parts).sample(10_000, rng())
    np.testing.assert_array_equal(prompts, outputs)
    assert (prompts == 1000).mean() == pytest.approx(0.75, abs=0.02)


def test_empirical_of_a_trace_keeps_pairs(tmp_path):
    path = tmp_path / "t"
    path.write_text("prompt_tokens,output_tokens\n1,10\n2,20\n300,3000\n")
    prompts, outputs = Empirical(path=path).sample(100, rng())
    np.testing.assert_array_equal(outputs, prompts * 10)
    cut = Empirical(path=path, max_prompt=5, max_output=15).sample(100, rng())
    assert (cut[0].max(), cut[1].max()) == (5, 15)
    with pytest.raises(ValueError, match="did you mean 'sharegpt'"):
        Empirical("sharegtp")


def stream(arrivals, lengths=None, **more):
    return Stream("chat", RT, arrivals, lengths, SLO, **more)


def test_open_loop():
    made = build(stream(Poisson(50.0), Uniform((10, 20), (5, 9))), 7, 100.0)
    assert isinstance(made, OpenLoop)
    arrivals = [r.arrival_s for r in made.requests]
    assert arrivals == sorted(arrivals)
    assert [r.index for r in made.requests] == list(range(len(arrivals)))
    first = made.requests[0]
    assert (first.request_id, first.service_class, first.slo) == ("chat-0", RT, SLO)
    assert first.max_tokens == 2 * first.output_tokens
    assert made == build(stream(Poisson(50.0), Uniform((10, 20), (5, 9))), 7, 100.0)
    lengths = [r.prompt_tokens for r in made.requests]
    assert lengths[:1000] != lengths[1024:2024]


def test_lengths_do_not_depend_on_load_duration_or_loop():
    pairs = Empirical("lmsys")

    def lengths(arrivals, duration_s):
        made = build(stream(arrivals, pairs), 3, duration_s)
        if isinstance(made, ClosedLoop):
            return [made.request(n, 0.0).prompt_tokens for n in (1999, 0, 5)]
        return [made.requests[n].prompt_tokens for n in (1999, 0, 5)]

    assert lengths(Poisson(30.0), 100.0) == lengths(Poisson(70.0), 60.0) == lengths(Clients(4), 1.0)


def test_streams_are_independent():
    one = build(Stream("a", RT, Poisson(5.0), Fixed(1, 1)), 0, 100.0)
    other = build(Stream("b", RT, Poisson(5.0), Fixed(1, 1)), 0, 100.0)
    again = build(Stream("a", BE, Poisson(5.0), Empirical("lmsys")), 0, 100.0)
    times = [[r.arrival_s for r in made.requests] for made in (one, other, again)]
    assert times[0] == times[2] != times[1]


def test_closed_loop():
    made = build(stream(Clients(8, 0.5, batch=True), Uniform((10, 99), (5, 9))), 7, 100.0)
    assert isinstance(made, ClosedLoop)
    assert (made.clients, made.think_time_s, made.whole_batch) == (8, 0.5, True)
    assert made.request(3, 9.0) == made.request(3, 9.0)
    assert made.request(3, 9.0).arrival_s == 9.0


def test_caps():
    def made(rule):
        return build(stream(Poisson(50.0), Fixed(5, 9), max_tokens=rule), 7, 10.0)

    assert made(Exact()).requests[0].max_tokens == 9
    assert made(Headroom(1.5)).requests[0].max_tokens == 14
    assert made(FixedCap(100)).requests[0].max_tokens == 100
    loop = build(stream(Clients(2), Uniform((5, 5), (1, 8)), max_tokens=FixedCap(4)), 7, 10.0)
    assert loop.cut.to_cap == pytest.approx(512, rel=0.1)
    short = made(FixedCap(4))
    assert (short.requests[0].output_tokens, short.cut.to_cap) == (4, len(short.requests))


@pytest.mark.parametrize("arrivals", [Poisson(50.0), Clients(2)])
def test_clients_clip_to_what_the_prompt_leaves_of_the_model_length(arrivals):
    def asked(prompt):
        given = stream(arrivals, Fixed(prompt, 9), max_tokens=Exact(), system_prompt_tokens=2)
        made = build(replace(given, max_model_len=20), 7, 10.0)
        first = made.request(0, 0.0) if isinstance(made, ClosedLoop) else made.requests[0]
        return first.output_tokens, first.max_tokens, made.cut.to_model_len > 0

    assert asked(9) == (9, 9, False)
    assert asked(10) == (8, 8, True)
    assert asked(18) == (9, 9, False), "none left: for the engine to reject"


def test_a_bags_deadline_is_the_e2e_slo_of_its_requests():
    made = build(stream(Bag(3, 2.0, 60.0), Fixed(5, 9)), 7, 10.0)
    assert [request.slo for request in made.requests] == [Slo(0.4, 0.2, 60.0)] * 3
    assert build(stream(Bag(1), Fixed(5, 9)), 7, 10.0).requests[0].slo == SLO


def test_replay_brings_rows_and_fills_blanks(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        "arrival_s,prompt_tokens,output_tokens,class,slo_ttft_s,slo_e2e_s,max_tokens,"
        "prefix_hashes,hash_block_tokens\n0,40,7,be,9,30,50,1 2,32\n1,20,8,,,,,1,32\n"
    )
    a, b = build(stream(Replay(path)), 7, 10.0).requests
    assert (a.service_class, a.slo, a.max_tokens) == (BE, Slo(9.0, 0.2, 30.0), 50)
    assert (b.service_class, b.slo, b.max_tokens) == (RT, SLO, 16)
    assert a.hash_block_tokens == 32
    assert len(a.prefix_hashes) == 2
    assert a.prefix_hashes[:1] == b.prefix_hashes
    other = build(Stream("other", RT, Replay(path)), 7, 10.0).requests[0]
    assert not set(other.prefix_hashes) & set(a.prefix_hashes)
    times_alone = build(stream(Replay(path), Fixed(1, 2)), 7, 10.0).requests
    assert [(r.prompt_tokens, r.prefix_hashes) for r in times_alone] == [(1, ())] * 2


def test_lengths_are_needed():
    with pytest.raises(InputError, match="lengths"):
        stream(Poisson(1.0))


def test_files():
    assert [p.name for p in stream(TwinArrivals("azure-conv"), Empirical("lmsys")).files()] == [
        "azure-conv.json",
        "lmsys.json",
    ]


def test_building_a_request_takes_few_calls():
    chat = stream(TwinArrivals("azure-conv", rate_rps=20.0))
    made = build(chat, 1, 1000.0)
    assert len(made.requests) == pytest.approx(20_000, rel=0.05)
    more = calls_of(build, chat, 1, 1000.0) - calls_of(build, chat, 1, 500.0)
    assert more < 2 * 10_000
