import numpy as np
import pytest

from bros_sim.engine.latency_model import StepShape
from bros_sim.latency.parameters import Hybrid, Linear
from bros_sim.profiles.profile import load_profile, profile_ids
from bros_sim.profiles.uncertainty import Uncertainty, scaled

SHAPES = [StepShape((), 16, 8000), StepShape(((512, 256),), 0, 0), StepShape(((300, 0),), 8, 4000)]
LINE = Linear(prefill_ms=10.0, prefill_per_token_ms=0.1)


@pytest.mark.parametrize(
    "name", ["a100-80gb/llama-3-8b-tp1", "a100-80gb/opt-66b-tp2", "rtxpro6000/qwen3-32b-tp2"]
)
def test_a_scale_scales_every_iteration_of_every_model(name):
    for model in load_profile(name).models.by_kind().values():
        for shape in [*SHAPES, StepShape((), 128, 16000, 8000)]:
            longer, time = (m.make().step_s(shape) for m in (scaled(model, 1.1), model))
            assert longer == pytest.approx(1.1 * time)


def test_draws_spread_as_the_scale_says_and_repeat_with_the_seed():
    uncertain = Uncertainty("test", scale_pct=10.0)
    times = [uncertain.draw(LINE, np.random.default_rng(n)).prefill_ms for n in range(400)]
    assert np.std(np.log(times)) == pytest.approx(0.1, rel=0.1)
    assert uncertain.draw(LINE, np.random.default_rng(3)) == uncertain.draw(
        LINE, np.random.default_rng(3)
    )


def test_factors_move_coefficients_together():
    factor = {"prefill_ms": (1.0,), "prefill_per_token_ms": (-0.01,)}
    uncertain = Uncertainty("test", factors=(factor,))
    drawn = [uncertain.draw(LINE, np.random.default_rng(n)) for n in range(50)]
    moved = np.array([(m.prefill_ms - 10.0, m.prefill_per_token_ms - 0.1) for m in drawn])
    np.testing.assert_allclose(moved[:, 0], -100 * moved[:, 1])
    assert np.std(moved[:, 0]) == pytest.approx(1.0, rel=0.25)


def test_no_coefficient_turns_negative_and_the_curve_never_falls():
    hybrid = load_profile("a100-80gb/llama-3-8b-tp1").coefficients(Hybrid)
    wild = tuple(50.0 * (-1) ** n for n in range(len(hybrid.tokens.n)))
    factors = ({"tokens.ms": wild, "head.const_ms": (-40.0,)},)
    uncertain = Uncertainty("test", factors=factors)
    for seed in range(20):
        drawn = uncertain.draw(hybrid, np.random.default_rng(seed))
        assert drawn.head.const_ms >= 0
        assert list(drawn.tokens.ms) == sorted(drawn.tokens.ms)


@pytest.mark.parametrize(
    ("factor", "message"),
    [({"nothing_ms": (1.0,)}, "no coefficient nothing_ms"), ({"prefill_ms": (1.0, 2.0)}, "has 2")],
)
def test_a_factor_that_does_not_fit_is_named(factor, message):
    with pytest.raises(ValueError, match=message):
        Uncertainty("test", factors=(factor,)).draw(LINE, np.random.default_rng(0))


@pytest.mark.parametrize("name", profile_ids())
def test_every_shipped_profile_states_how_uncertain_it_is(name):
    profile = load_profile(name)
    stated = profile.uncertainty[profile.default_model]
    assert stated.scale_pct >= 5
    assert "stated" in stated.basis
