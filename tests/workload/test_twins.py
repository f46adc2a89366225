"""Twins: faithful to what they describe, whole files, and made of any trace."""

import json

import numpy as np
import pytest
from scipy.stats import ks_2samp

from bros_sim.core.errors import InputError
from bros_sim.workload.histogram import JointHistogram
from bros_sim.workload.intensity import StepRate
from bros_sim.workload.lengths import Empirical
from bros_sim.workload.readers.base import Policy
from bros_sim.workload.replay import TwinArrivals
from bros_sim.workload.statistics import fano, prefix_summary
from bros_sim.workload.traces import Trace, read_trace, within
from bros_sim.workload.twins import fit_twin, load_twin, save_twin, twin_paths, why_no_twin

ORIGINALS = [  # twin, original, how it was read, what was left out, tolerance of the Fano factors
    ("azure-conv", "azure2023_conv", {}, {}, 0.2),
    ("azure-code", "azure2023_code", {}, {}, 0.35),
    ("mooncake-conversation", "mooncake_conversation", {"dequantise": "uniform"}, {}, 0.2),
    ("sharegpt", "sharegpt_59k_lengths", {}, {"most_prompt": 8192, "most_output": 2048}, None),
    (
        "sharegpt-vllm",
        "sharegpt_59k_lengths",
        {},
        {"least": 4, "most_prompt": 1024, "most_total": 2048},
        None,
    ),
    ("lmsys", "lmsys_100k_lengths", {}, {}, None),
    ("arxiv-summarization", "arxiv_summarization_llama2_lengths", {}, {"most_output": 1000}, None),
]


def test_every_twin_has_a_fidelity_test_and_a_licence():
    assert {name for name, *_ in ORIGINALS} == set(twin_paths())
    for path in twin_paths().values():
        twin = load_twin(path)
        assert twin.name == path.stem
        assert len(twin.describes) > 20
        assert twin.licence != "not stated"
        assert path.stat().st_size < 40_000


@pytest.mark.parametrize(("name", "file", "read", "limits", "tolerance"), ORIGINALS)
def test_fidelity(original, name, file, read, limits, tolerance):
    trace = within(read_trace(original(f"{file}.csv.gz"), Policy(**read)), **limits)
    twin = load_twin(twin_paths()[name])
    rng = np.random.default_rng(0)
    pairs = [twin.lengths.sample(len(trace), rng) for _ in range(5)]
    for column, lengths in enumerate((trace.prompt_tokens, trace.output_tokens)):
        distances = [ks_2samp(pair[column], lengths).statistic for pair in pairs]
        assert np.median(distances) <= 0.03
        assert np.mean(pairs[0][column]) == pytest.approx(lengths.mean(), rel=0.05)
    if tolerance is None:
        return
    runs = [
        TwinArrivals(name).times(trace.arrival_s[-1], np.random.default_rng(seed))
        for seed in range(7)
    ]
    for window_s in (1, 10, 60):
        measured = np.median([fano(times, window_s) for times in runs])
        assert measured == pytest.approx(fano(trace.arrival_s, window_s), rel=tolerance)
    assert np.mean([len(times) for times in runs]) == pytest.approx(len(trace), rel=0.03)


def test_prefix_reuse_of_the_mooncake_twin():
    twin = load_twin(twin_paths()["mooncake-conversation"])
    rng = np.random.default_rng(0)
    prompts, _ = twin.lengths.sample(12_031, rng)
    hashes = twin.prefixes.sample(prompts, rng)
    assert [len(row) for row in hashes] == (-(-prompts // 512)).tolist()
    original_reuse = twin.measured["prefixes"]["reused_blocks_share"]
    reuse = prefix_summary(hashes, 512)["reused_blocks_share"]
    assert reuse == pytest.approx(original_reuse, rel=0.15)


def test_mass_points_and_clips_stay_exact():
    rng = np.random.default_rng(0)
    prompts = rng.integers(1, 5000, 20_000)
    prompts[:300], prompts[600:2000] = 181, 7437
    outputs = np.where(prompts == 181, 396, rng.integers(6, 100, 20_000))
    twin = JointHistogram.fit(prompts, outputs)
    some, outs = twin.sample(50_000, rng)
    assert (some == 181).mean() == pytest.approx(0.015, abs=0.003)
    assert (some == 7437).mean() == pytest.approx(0.07, abs=0.005)
    assert some.max() == 7437
    assert (outs[some == 181] == 396).all()  # pairs, not marginals


def test_means_and_tails_are_kept():
    rng = np.random.default_rng(0)
    lengths = np.maximum(rng.lognormal(5, 1.5, 20_000), 1).astype(np.int64)
    twin = JointHistogram.fit(lengths, lengths)
    prompts, outputs = twin.sample(100_000, rng)
    assert prompts.mean() == pytest.approx(lengths.mean(), rel=0.04)
    assert np.quantile(prompts, 0.99) == pytest.approx(np.quantile(lengths, 0.99), rel=0.05)
    assert np.corrcoef(np.log(prompts), np.log(outputs))[0, 1] > 0.99
    for column, low, high in zip(twin.prompt.mean, twin.prompt.lo, twin.prompt.hi, strict=True):
        mine = prompts[(prompts >= low) & (prompts <= high)]
        assert mine.mean() == pytest.approx(column, abs=0.1 * (high - low) + 0.01)


def test_rate_profile_finds_steps_and_invents_few():
    rng = np.random.default_rng(0)
    steps = StepRate(np.array([0.0, 300.0, 500.0]), np.array([2.0, 9.0, 0.5]), 1000.0)
    found = StepRate.fit(steps.times(1000.0, rng))
    assert len(found.rates) <= 10
    for step in (300.0, 500.0):
        assert np.abs(found.starts_s - step).min() <= 3
    for end_s in (300.0, 500.0, 1000.0):
        expected = steps.until(end_s)[1][-1]
        assert found.until(end_s)[1][-1] == pytest.approx(expected, rel=0.1)


def made(arrivals=True):
    rng = np.random.default_rng(0)
    count = 5000
    return Trace(
        np.arange(count),
        np.sort(rng.random(count) * 900) if arrivals else None,
        rng.geometric(0.01, count),
        rng.geometric(0.05, count),
        prefix_hashes=tuple((0, n % 50, 100 + n) for n in range(count)),
    )


@pytest.mark.parametrize("arrivals", [True, False])
def test_saved_and_loaded_twins_are_equal(tmp_path, arrivals):
    twin = fit_twin(made(arrivals), name="mine", describes="made up", licence="CC0")
    path = tmp_path / "mine.json"
    save_twin(twin, path)
    assert list(tmp_path.iterdir()) == [path]
    loaded = load_twin(path)
    assert (loaded.name, loaded.licence, loaded.rate is None) == ("mine", "CC0", not arrivals)
    np.testing.assert_array_equal(loaded.lengths.counts, twin.lengths.counts)
    again = tmp_path / "again.json"
    save_twin(loaded, again)
    assert again.read_bytes() == path.read_bytes()


def test_a_constant_trace_has_a_twin():
    flat = Trace(np.arange(10), np.arange(10.0), np.full(10, 7), np.full(10, 9))
    twin = fit_twin(flat, name="flat", describes="", licence="")
    prompts, outputs = twin.lengths.sample(5, np.random.default_rng(0))
    assert (prompts.tolist(), outputs.tolist()) == ([7] * 5, [9] * 5)
    assert twin.rate.rates.tolist() == [1.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("lengths"), "the key 'lengths' is missing"),
        (lambda d: d.update(twin_format=9), "twin_format must be 1"),
        (lambda d: d["lengths"]["counts"].pop(), "one row per prompt bin"),
        (lambda d: d["lengths"]["prompt"]["lo"].reverse(), "bins must rise"),
        (lambda d: d["rate"].update(period_s=0), "starts must rise from 0 to below period_s"),
        (lambda d: d["rate"]["rates_rps"].__setitem__(0, -1), "rates must be >= 0"),
        (lambda d: d["prefixes"].update(lag=[1]), "one entry per length class"),
        (lambda d: d.update(lengths=5), "not a twin"),
    ],
)
def test_damaged_twins(tmp_path, change, message):
    document = json.loads(twin_paths()["mooncake-conversation"].read_text())
    change(document)
    path = tmp_path / "t.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=message):
        load_twin(path)


def test_unknown_name():
    assert "did you mean 'azure-conv'" in why_no_twin("azure-con")
    assert "known: arxiv-summarization, azure-code" in why_no_twin("zzz")
    with pytest.raises(ValueError, match="did you mean 'azure-conv'"):
        Empirical(name="azure-con")
