"""Rates, regularity and burstiness of the generators, with fixed seeds and statistical bounds."""

import numpy as np
import pytest

from bros_sim.core.errors import InputError
from bros_sim.workload import ARRIVALS
from bros_sim.workload.arrivals import Bag, Constant, Gamma, Poisson, Weibull
from bros_sim.workload.modulated import Diurnal, Mmpp, OnOff, Piecewise
from bros_sim.workload.replay import Replay, TwinArrivals
from bros_sim.workload.statistics import fano, interarrival_cv

CODE = Mmpp(
    (0.003, 6.8, 22.3), (21.9, 4.6, 2.8), ((0, 0.96, 0.04), (0.66, 0, 0.34), (0.14, 0.86, 0))
)
OPEN = [
    Poisson(4.0),
    Constant(4.0),
    Gamma(4.0, 3.0),
    Gamma(4.0, 0.3),
    Weibull(4.0, cv=2.0),
    Weibull(4.0, shape=1.5),
    CODE,
    OnOff(9.0, 5.0, 20.0),
    Piecewise(((0, 1.0), (100, 0.0), (200, 20.0))),
    Diurnal(4.0, peak_to_trough=5.0, day_s=500.0),
    TwinArrivals("azure-code"),
    TwinArrivals("azure-conv", rate_rps=3.0),
]


def draw(arrivals, duration_s, seed=0):
    return arrivals.times(duration_s, np.random.default_rng(seed))


@pytest.mark.parametrize("arrivals", OPEN, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("duration_s", [0.001, 1.0, 777.7])
def test_sorted_inside_and_repeatable(arrivals, duration_s):
    times = draw(arrivals, duration_s)
    assert times.dtype == np.float64
    assert (np.diff(times) >= 0).all()
    assert times.size == 0 or (times[0] >= 0 and times[-1] < duration_s)
    np.testing.assert_array_equal(times, draw(arrivals, duration_s))
    if duration_s > 100 and not isinstance(arrivals, Constant):
        assert not np.array_equal(times, draw(arrivals, duration_s, seed=1))


@pytest.mark.parametrize(
    ("arrivals", "cv"),
    [
        (Poisson(20.0), 1),
        (Gamma(20.0, 3.0), 3),
        (Gamma(20.0, 0.3), 0.3),
        (Weibull(20.0, cv=2.0), 2),
    ],
)
def test_rate_and_cv(arrivals, cv):
    times = draw(arrivals, 5000.0)
    assert len(times) == pytest.approx(100_000, abs=4 * cv * 100_000**0.5)
    assert interarrival_cv(times) == pytest.approx(cv, rel=0.04)


@pytest.mark.parametrize("arrivals", [Gamma(1.0, 5.0), Weibull(1.0, cv=5.0), CODE])
def test_stationary_from_the_start(arrivals):
    """Short runs have the stated mean rate too: no initial burst, no initial silence."""
    counts = np.array([len(draw(arrivals, 5.0, seed)) for seed in range(3000)])
    expected = 5.0 * getattr(arrivals, "rate_rps", 0)
    assert counts.mean() == pytest.approx(expected, abs=4 * counts.std() / 3000**0.5)


def test_constant_and_bag():
    assert draw(Constant(2.0), 2.0).tolist() == [0.0, 0.5, 1.0, 1.5]
    assert draw(Bag(3, release_s=1.0), 2.0).tolist() == [1.0, 1.0, 1.0]
    late = r"no request falls in the run's 2 s; the bag is released at 2 s \(set release_s\)"
    with pytest.raises(InputError, match=late):
        draw(Bag(3, release_s=2.0), 2.0)
    with pytest.raises(InputError, match=late):
        Bag(3, release_s=2.0).check(2.0)


SILENT = [
    Poisson(0.0),
    Constant(0.0),
    Gamma(0.0, 2.0),
    Weibull(0.0, cv=2.0),
    Mmpp((0.0, 0.0), (5.0, 5.0)),
    OnOff(0.0, 5.0, 20.0),
    Piecewise(((0, 1.0),), scale=0.0),
    Diurnal(0.0, peak_to_trough=5.0),
    TwinArrivals("azure-code", rate_rps=0.0),
]


@pytest.mark.parametrize("arrivals", SILENT, ids=lambda a: type(a).__name__)
def test_rate_zero_is_silence(arrivals):
    arrivals.check(10.0)
    assert draw(arrivals, 10.0).size == 0


@pytest.mark.parametrize("arrivals", OPEN, ids=lambda a: type(a).__name__)
def test_what_cannot_be_drawn_is_refused_without_drawing(arrivals):
    arrivals.check(1e5)
    with pytest.raises(InputError, match=r"the most is 2e|periods of .* are too many|too short"):
        arrivals.check(4e7)


def test_a_modulated_process_of_too_many_requests_is_refused():
    with pytest.raises(InputError, match="would make 5e\\+07 requests"):
        OnOff(1e6, 50.0, 50.0).check(100.0)


def test_piecewise_follows_its_table():
    times = draw(Piecewise(((0, 5.0), (100, 0.0), (200, 20.0)), period_s=300, scale=2.0), 600.0)
    counts = np.histogram(times, [0, 100, 200, 300, 400, 500, 600])[0]
    assert counts[1] == counts[4] == 0
    for n, expected in ((0, 1000), (2, 4000), (3, 1000), (5, 4000)):
        assert counts[n] == pytest.approx(expected, abs=4 * expected**0.5)


def test_diurnal_peaks_when_told():
    cosine = Diurnal(500.0, peak_to_trough=9.0, peak_hour=6.0, start_hour=3.0, day_s=2400.0)
    counts = np.histogram(draw(cosine, 2400.0), 24, (0, 2400))[0]
    assert counts.sum() == pytest.approx(1_200_000, rel=0.01)
    assert set(np.argsort(counts)[-2:]) == {2, 3}  # 6 h is 3 h after the start
    assert counts.max() / counts.min() == pytest.approx(8.8, rel=0.1)
    hourly = Diurnal(10.0, hourly=(0.0,) * 23 + (1.0,), start_hour=22.5, day_s=2400.0)
    times = draw(hourly, 2400.0)
    assert times.min() >= 50
    assert times.max() <= 150


def test_mmpp_mean_and_burstiness():
    times = draw(CODE, 40_000.0)
    assert len(times) / 40_000 == pytest.approx(CODE.rate_rps, rel=0.1)
    assert fano(times, 1) == pytest.approx(11.1, rel=0.15)
    assert fano(times, 60) == pytest.approx(104.6, rel=0.3)
    on = draw(OnOff(9.0, 5.0, 20.0), 40_000.0)
    assert len(on) / 40_000 == pytest.approx(9 * 5 / 25, rel=0.1)


def test_twin_rate_is_the_mean_of_the_run():
    for duration_s in (300.0, 10_000.0):
        counts = [
            len(draw(TwinArrivals("azure-conv", rate_rps=2.0), duration_s, s)) for s in range(9)
        ]
        assert np.mean(counts) == pytest.approx(2 * duration_s, abs=4 * (2 * duration_s / 9) ** 0.5)


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "t.csv"
    rows = "".join(f"{t / 10},{t + 1},1\n" for t in range(1000))
    path.write_text("arrival_s,prompt_tokens,output_tokens\n" + rows)
    return path


def test_replay_as_it_is_warped_thinned_and_superposed(trace):
    np.testing.assert_allclose(draw(Replay(trace), 1e6), np.arange(1000) / 10)
    np.testing.assert_allclose(draw(Replay(trace, rate_scale=2.0), 1e6)[-1], 99.9 / 2)
    thin, rows = Replay(trace, 0.3, "thin").rows(1e6, np.random.default_rng(0))
    assert len(thin) == pytest.approx(300, abs=60)
    np.testing.assert_allclose(thin, rows / 10)
    more, rows = Replay(trace, 2.5, "thin").rows(1e6, np.random.default_rng(0))
    assert len(more) == pytest.approx(2500, abs=70)
    assert np.unique(rows, return_counts=True)[1].min() == 2
    window = draw(Replay(trace, start_s=50.0, end_s=60.0), 1e6)
    assert (len(window), window[0]) == (100, 0.0)


def test_what_cannot_be(trace, tmp_path):
    with pytest.raises(InputError, match="no request falls in the run"):
        draw(Replay(trace, 1e-4, start_s=0.05), 1.0)
    with pytest.raises(InputError, match="would make 1e\\+12 requests"):
        draw(Poisson(1e6), 1e6)
    with pytest.raises(InputError, match="periods of 1 s in one run are too many"):
        draw(Piecewise(((0, 1.0),), period_s=1.0), 1e7)
    with pytest.raises(InputError, match="sojourns are too short"):
        draw(Mmpp((1.0, 2.0), (0.001, 1.0)), 1e6)
    with pytest.raises(InputError, match="lengths but no arrivals"):
        draw(TwinArrivals("sharegpt"), 1.0)
    with pytest.raises(ValueError, match="did you mean 'azure-conv'"):
        TwinArrivals("azur-conv")
    lengths = tmp_path / "l.csv"
    lengths.write_text("prompt_tokens,output_tokens\n1,2\n")
    with pytest.raises(InputError, match="has lengths but no arrival times"):
        draw(Replay(lengths), 1.0)


@pytest.mark.parametrize(
    ("kind", "keys", "message"),
    [
        ("weibull", {"rate_rps": 1.0}, "give either cv or shape"),
        ("mmpp", {"rates_rps": (1.0, 2.0, 3.0), "sojourn_s": (1.0, 1.0)}, "needs 3 values"),
        ("mmpp", {"rates_rps": (1.0,) * 3, "sojourn_s": (1.0,) * 3}, "needed from three states"),
        (
            "mmpp",
            {
                "rates_rps": (1.0, 2.0),
                "sojourn_s": (1.0, 1.0),
                "transition": ((0.5, 0.4), (1.0, 0.0)),
            },
            "row 0 must hold 2 values of sum 1",
        ),
        ("piecewise", {"steps": ((5.0, 1.0),)}, "must start at 0"),
        ("piecewise", {"steps": ((0.0, 1.0), (0.0, 2.0))}, "must start at 0 and rise"),
        ("piecewise", {"steps": ((0.0, -1.0),)}, "rates must lie in"),
        ("piecewise", {"steps": ((0.0, 1.0), (9.0, 2.0)), "period_s": 9.0}, "later than the last"),
        ("diurnal", {"rate_rps": 1.0}, "give either hourly or peak_to_trough"),
        ("twin", {}, "give either name"),
        ("replay", {"path": "x", "start_s": 3.0, "end_s": 2.0}, "must be later than start_s"),
    ],
)
def test_contradictory_keys(kind, keys, message):
    with pytest.raises(ValueError, match=message):
        ARRIVALS[kind](**keys)
