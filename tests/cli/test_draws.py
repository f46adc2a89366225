"""`latency: {uncertainty, draws, noise}`: what is run, what it says, and what stays as it was."""

import shutil
import zlib

import numpy as np
import pandas as pd
import pytest

from bros_sim.config import override, parse
from bros_sim.core.errors import InputError
from bros_sim.experiment import load
from bros_sim.experiment.build import latency_parameters, profile_of, read_point, run_point
from bros_sim.experiment.truth import truth_of
from bros_sim.latency.parameters import Hybrid
from tests.cli.conftest import EXPERIMENT
from tests.cli.test_run import contents

pytestmark = pytest.mark.slow

RATE = "workload.chat.arrivals.rate_rps"
ALONE = """\
name: alone
seed: 9
duration_s: 40
cluster: {profile: a100-80gb/opt-13b-tp1}
workload:
  one:
    class: rt
    arrivals: {kind: closed_loop, clients: 1}
    lengths: {kind: fixed, prompt: 100, output: 20}
systems: {vLLM: {scheduler: {kind: vllm}, kv: {kind: paged}}}
"""
"""One request at a time: every latency is a sum of iterations and nothing else."""


def loaded(text=EXPERIMENT, **changes):
    document = parse(text, "e.yaml")
    for path, value in changes.items():
        document = override(document, f"{path.replace('__', '.')}={value}")
    return load(document)


def keys(points):
    return [point.key for point in points]


@pytest.mark.parametrize("kind", ["", "kind: roofline, "])
def test_nominal_points_are_what_they_are_without_draws(kind):
    plain = loaded(**({"latency": "{kind: roofline}"} if kind else {}))
    off = loaded(latency=f"{{{kind}uncertainty: false, noise: false}}")
    on = loaded(latency=f"{{{kind}uncertainty: true, draws: 3}}")
    assert keys(on.points) == keys(off.points) == keys(plain.points)
    assert [p.resolved for p in on.points] == [p.resolved for p in plain.points]
    assert not plain.drawn
    assert not off.drawn


def test_a_draw_is_one_model_for_all_and_nobody_believes_in_it():
    found = loaded(latency="{uncertainty: true, draws: 4}", sweep__seeds=3)
    assert len(found.drawn) == 2 * 2 * 4
    assert [tuple(p.labels.values()) for p in found.drawn[:4]] == [
        ("FCFS", 2, 1 + n % 3, n) for n in (1, 2, 3, 4)
    ]
    nominal = profile_of(found.spec).coefficients(Hybrid)
    models = {
        n: {repr(p.spec.latency) for p in found.drawn if p.labels["draw"] == n} for n in range(1, 5)
    }
    assert all(len(same) == 1 for same in models.values())
    assert len(set.union(*models.values()) | {repr(nominal)}) == 5
    for point in found.drawn:
        spec = read_point(point.resolved)
        assert spec.latency == point.spec.latency
        assert latency_parameters(spec.system.estimate.latency, profile_of(spec)) == nominal
        assert spec.seed == point.labels["seed"]


def test_a_system_keeps_the_belief_that_it_states():
    found = loaded(
        latency="{uncertainty: true, draws: 2}",
        systems__FCFS__estimate="{latency: {kind: roofline}, bias: 1.2}",
    )
    belief = found.drawn[0].spec.system.estimate
    assert (belief.latency.__name__, belief.bias) == ("Roofline", 1.2)


def test_a_draw_of_the_scale_changes_times_by_as_much():
    """The profile states a scale of 10 % and nothing else."""
    found = loaded(ALONE, latency="{uncertainty: true, draws: 3}")
    nominal, *drawn = (
        run_point(read_point(p.resolved)).requests for p in [*found.points, *found.drawn]
    )
    for number, table in enumerate(drawn, 1):
        name = np.random.SeedSequence(9, spawn_key=(zlib.crc32(b"latency draw"), number))
        scale = np.exp(0.1 * np.random.default_rng(name).standard_normal())
        for column in ("first_token_s", "last_token_s"):
            times = (t[column] - t["arrival_s"] for t in (table, nominal))
            mine, theirs = (t[:20].to_numpy() for t in times)
            np.testing.assert_allclose(mine, scale * theirs, rtol=1e-6)


def test_a_run_with_draws_resumes_and_tells_bands(bros, tiny, tmp_path):
    option = ("--set", "latency={uncertainty: true, draws: 2}")
    result = bros("run", tiny, *option)
    assert result.exit_code == 0, result.output
    assert "12/12 points" in result.stderr
    assert "the middle 95 % over the draws" in result.stdout
    assert "The higher capacity" in result.stdout
    assert "neither (2 of 2)" in result.stdout
    folder = tmp_path / "results" / "tiny"
    table = pd.read_csv(folder / "summary.csv")
    assert list(table)[:5] == ["system", RATE, "seed", "draw", "class"]
    assert table["draw"].value_counts().to_dict() == {0: 12, 1: 12, 2: 12}
    assert {"low_rps", "high_rps", "draws"} <= set(pd.read_csv(folder / "capacity.csv"))

    before = contents(folder)
    drawn = loaded(tiny.read_text(), latency="{uncertainty: true, draws: 2}").drawn[0].key
    shutil.rmtree(folder / "points" / drawn)
    again = bros("run", tiny, *option)
    assert "1/1 points" in again.stderr
    assert contents(folder) == before
    assert bros("plot", folder).exit_code == 0
    assert contents(folder) == before

    listed = bros("run", tiny, *option, "--dry-run").stdout
    assert listed.count("complete") == 12
    assert "4 points and 8 of draws" in bros("check", tiny.rename("e.yaml"), *option).stdout


def test_without_draws_nothing_tells_of_them(bros, tiny, tmp_path):
    result = bros("run", tiny)
    assert "draw" not in result.stdout
    assert "draw" not in (tmp_path / "results/tiny/summary.csv").read_text().partition("\n")[0]
    assert ",low_rps" not in (tmp_path / "results/tiny/capacity.csv").read_text()


def test_noise_scatters_the_truth_and_repeats():
    (point, *_) = loaded(latency="{noise: true}").points
    assert truth_of(read_point(point.resolved).latency).options.noise
    first, again = (run_point(read_point(point.resolved)) for _ in range(2))
    (quiet, *_) = (run_point(p.spec) for p in loaded().points[:1])
    assert first.requests.equals(again.requests)
    assert first.steps.equals(again.steps)
    noisy, smooth = (t.requests["last_token_s"] for t in (first, quiet))
    assert (noisy != smooth).all()
    assert noisy[:10].to_numpy() == pytest.approx(smooth[:10].to_numpy(), rel=0.05)


def test_a_drawn_truth_may_be_noisy_too():
    found = loaded(latency="{uncertainty: true, draws: 2, noise: true}")
    spec = read_point(found.drawn[0].resolved)
    assert truth_of(spec.latency).options.noise
    assert isinstance(truth_of(spec.latency).model, Hybrid)
    assert run_point(spec).requests["last_token_s"].notna().all()


@pytest.mark.parametrize(
    ("latency", "says"),
    [
        ("{draws: 5}", "latency.draws: needs uncertainty: true"),
        ("{uncertainty: true, draws: 1}", "latency.draws: should be at least 2"),
        ("{uncertainty: 3}", "latency.uncertainty: should be a valid boolean"),
        ("{}", "latency: the key 'kind' is missing"),
        ("{noisy: true}", "latency: the key 'kind' is missing"),
        ("{kind: hybird, noise: 1}", "latency.kind: there is no latency model of kind 'hybird'"),
        ("{kind: hybird, noise: 1}", "latency.noise: should be a valid boolean"),
        (
            "{kind: roofline, noise: true}",
            "latency.noise: profile a100-80gb/llama-3-8b-tp1 states no",
        ),
        (
            "{kind: linear, prefill_ms: 9, decode: {const_ms: 9}, uncertainty: true}",
            "latency.uncertainty: the coefficients are written out",
        ),
    ],
)
def test_what_cannot_be_sampled_is_said(latency, says):
    with pytest.raises(InputError) as error:
        loaded(latency=latency)
    assert says in "\n".join(error.value.lines)


def test_a_belief_has_no_noise_of_this_kind():
    with pytest.raises(InputError, match=r"estimate\.latency\.noise: unknown key"):
        loaded(systems__FCFS__estimate="{latency: {kind: linear, noise: true}}")


def test_draws_are_the_same_at_all_points_but_noise_may_be_swept():
    with pytest.raises(InputError, match=r"sweep\.grid: uncertainty and draws have to be the same"):
        loaded(sweep__grid="{latency.uncertainty: [true, false]}")
    assert len(set(keys(loaded(sweep__grid="{latency.noise: [true, false]}").points))) == 4
