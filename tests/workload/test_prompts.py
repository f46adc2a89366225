"""What a stream does to its prompts: one that all begin with, and context that is compressed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bros_sim.core.errors import InputError
from bros_sim.core.request import ServiceClass
from bros_sim.workload.arrivals import Clients, Poisson
from bros_sim.workload.lengths import Fixed, Uniform
from bros_sim.workload.prompts import Refrag
from bros_sim.workload.replay import Replay, TwinArrivals
from bros_sim.workload.streams import Stream, build

RT = ServiceClass.RT


def stream(name="rag", arrivals=None, lengths=None, **options):
    return Stream(
        name, RT, arrivals or Poisson(20.0), lengths or Uniform((1, 999), (1, 9)), **options
    )


def by_hand(prompt, compression, question, expanded):
    """The decoder's positions, chunk by chunk."""
    context = max(0, prompt - question)
    chunks = [min(compression, context - at) for at in range(0, context, compression)]
    kept = round(expanded * len(chunks))
    return min(prompt, question) + sum(chunks[:kept]) + len(chunks[kept:])


@given(
    st.integers(1, 5000),
    st.integers(1, 64),
    st.integers(1, 3000),
    st.sampled_from([0, 0.1, 0.5, 1]),
)
def test_a_chunk_is_one_position_unless_it_is_expanded(prompt, compression, question, expanded):
    seen = Refrag(compression, question, expanded).positions(np.array([prompt]))
    assert seen.tolist() == [by_hand(prompt, compression, question, expanded)]


def test_the_papers_example():
    """16,384 tokens of context at 16 tokens a chunk are 1,024 positions; expanded they stay all."""
    prompts = np.array([16_512])
    assert Refrag(16, 128).positions(prompts).tolist() == [128 + 1024]
    assert Refrag(1, 128).positions(prompts).tolist() == [16_512]
    assert Refrag(16, 128, expanded=1.0).positions(prompts).tolist() == [16_512]


@pytest.mark.parametrize("arrivals", [Poisson(20.0), Clients(4)])
def test_compression_leaves_everything_else_as_it_is(arrivals):
    plain, short = requests(arrivals), requests(arrivals, refrag=Refrag(8, 100))
    prompts = np.array([r.prompt_tokens for r in plain])
    assert [r.prompt_tokens for r in short] == Refrag(8, 100).positions(prompts).tolist()
    assert [(r.arrival_s, r.output_tokens, r.max_tokens) for r in short] == [
        (r.arrival_s, r.output_tokens, r.max_tokens) for r in plain
    ]


@pytest.mark.parametrize("arrivals", [Poisson(20.0), Clients(4)])
def test_all_prompts_of_a_stream_begin_with_its_system_prompt(arrivals):
    plain = requests(arrivals)
    made = requests(arrivals, system_prompt_tokens=100, refrag=Refrag(1, 1))
    assert [r.prompt_tokens for r in made] == [r.prompt_tokens + 100 for r in plain]
    assert {r.system_prompt_tokens for r in made} == {100}
    for block_size in (16, 7):
        (keys,) = {r.block_keys(block_size) for r in made}
        assert len(set(keys)) == 100 // block_size


def requests(arrivals, **options):
    made = build(stream(arrivals=arrivals, **options), 3, 10.0)
    return (
        [made.request(n, 0.0) for n in range(200)]
        if isinstance(arrivals, Clients)
        else made.requests
    )


def test_streams_do_not_share_a_system_prompt():
    one, other = (
        build(stream(name, lengths=Fixed(5, 1), system_prompt_tokens=64), 0, 5.0).requests[0]
        for name in ("chat", "rag")
    )
    assert not set(one.block_keys(16)) & set(other.block_keys(16))


@pytest.mark.parametrize("option", [{"system_prompt_tokens": 8}, {"refrag": Refrag(2, 1)}])
def test_prompts_with_hashes_of_their_own_are_left_alone(tmp_path, option):
    trace = tmp_path / "t.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens,prefix_hashes\n0,40,5,1 2 3\n")
    for arrivals in (Replay(trace), TwinArrivals("mooncake-conversation")):
        with pytest.raises(InputError, match="prompts with prefix hashes take no"):
            build(Stream("chat", RT, arrivals, **option), 0, 600.0)
