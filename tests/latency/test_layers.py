"""The model `layers`: closed form, padding, mixing, and the tail of unequal lengths."""

import pytest

from bros_sim.engine.latency_model import StepShape
from bros_sim.latency import LATENCY_MODELS
from bros_sim.latency.grids import LayersModel
from bros_sim.latency.parameters import Layers, Linear, Mixing, Tail
from bros_sim.latency.term_parameters import DecodeGrid, PerSequence, PrefillGrid, TokenCurve
from bros_sim.latency.terms import chunk_ms
from bros_sim.profiles.profile import load_profile
from bros_sim.report.profiles import STYLES

SHIPPED = ("rtx4090/llama-3.1-8b-tp1", "rtxpro6000/llama-3.1-8b-tp1", "rtxpro6000/qwen3-32b-tp2")
PREFILL = PrefillGrid((1, 100), (0, 100), ((0.1, 0.2), (10.0, 20.0)))


def small(**other) -> LayersModel:
    """Dense 1 ms a token, attention 1 us a KV token alone and 2 us beside a chunk."""
    kv = (1, 1000)
    parts = {
        "tokens": TokenCurve((1, 1000), (1.0, 1000.0)),
        "sequences": TokenCurve((1, 1000), (0.5, 0.5)),
        "decode": DecodeGrid((1, 10), kv, ((0.001, 1.0), (0.01, 10.0))),
        "mixed": DecodeGrid((1, 10), kv, ((0.002, 2.0), (0.02, 20.0))),
        "prefill": PREFILL,
        "tail": Tail(0.001, (1, 10), (0.5, 0.5), (0.5, 0.5), unsplit_from=4),
        "mixing": Mixing(launch_ms=0.1, per_pair_ms=0.01, hidden_up_to=0.0),
        "graph_sizes": (1, 2, 4, 8),
        "tile_tokens": 16,
    }
    return Layers(**{**parts, **other}).make()


def ms(model, *shape):
    return 1e3 * model.step_s(StepShape(*shape))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_stretch_equals_its_iterations_bit_for_bit(name):
    model = load_profile(name).coefficients(Layers).make()
    assert model.reads_longest_kv
    assert not Linear().make().reads_longest_kv
    for seqs, longest in ((1, 500), (33, 4000), (64, 900), (100, 8000), (128, 1500)):
        shape = StepShape((), seqs, seqs * 480, longest)
        single = [
            model.step_s(StepShape((), seqs, shape.kv_tokens + n * seqs, longest + n))
            for n in range(400)
        ]
        assert model.decode_s(shape, 400).tolist() == single


def test_tokens_are_padded_to_graphs_and_tiles():
    model = small()
    assert ms(model, (), 3, 3) == pytest.approx(4 + 0.5 + 0.003)
    assert ms(model, (), 5, 5) == pytest.approx(8 + 0.5 + 0.005)
    assert ms(model, (), 9, 9) == pytest.approx(16 + 0.5 + 0.009)
    eager = small(eager=PerSequence(3.0, 0.1))
    assert ms(eager, (), 8, 8) == ms(model, (), 8, 8)
    assert ms(eager, (), 9, 9) == pytest.approx(ms(model, (), 9, 9) + 3.0 + 0.9)


def test_the_longest_sequence_is_late_by_what_the_others_do_not_cover():
    model = small()
    equal = ms(model, (), 8, 800)
    assert ms(model, (), 8, 800, 100) == pytest.approx(equal)
    assert ms(model, (), 8, 800, 700) == pytest.approx(equal + 0.7 - 0.5 * 0.8)
    # Below four in a graph of two the kernel splits sequences.
    assert ms(model, (), 2, 800, 700) == ms(model, (), 2, 800)


def test_chunks_and_decodes_share_a_kernel():
    model = small()
    chunk = ms(model, ((100, 0),), 0, 0)
    assert chunk == pytest.approx(112 + 0.5 + 10.0)
    both = ms(model, ((100, 0),), 10, 1000)
    assert both == pytest.approx(112 + 0.5 + 10.0 + (2.0 - 0.1) + 0.01 * 10 * 100)
    two = ms(model, ((50, 0), (50, 0)), 0, 0)
    assert two == pytest.approx(112 + 0.5 + 2 * chunk_ms(PREFILL, 50, 0) - 0.1)


def test_all_reduce_counts_padded_tokens():
    reduce = TokenCurve((1, 16), (0.1, 1.6))
    assert ms(small(all_reduce=reduce), (), 3, 3) == pytest.approx(ms(small(), (), 3, 3) + 0.4)


def test_unequal_lists_and_sizes_are_refused():
    with pytest.raises(ValueError, match="equally long"):
        Tail(0.1, (1, 2), (0.5,), (0.5, 0.5), 3)
    with pytest.raises(ValueError, match="increase strictly"):
        small(graph_sizes=(1, 4, 2))


def test_every_kind_of_model_has_a_line_in_the_figure():
    assert set(STYLES) == set(LATENCY_MODELS)


@pytest.mark.parametrize("name", SHIPPED)
def test_longer_sequences_never_make_an_iteration_cheaper(name):
    model = load_profile(name).coefficients(Layers).make()
    for seqs in (8, 40, 100):
        for chunks in ((), ((500, 0),)):
            times = [
                model.step_s(StepShape(chunks, seqs, 1000 * seqs, longest))
                for longest in range(1000, 9000, 500)
            ]
            assert times == sorted(times)
