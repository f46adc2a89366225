"""Figures: what they show, that their files are stable, and what they refuse."""

import re
from dataclasses import replace

import made_up
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bros_sim import plots
from bros_sim.config import parse
from bros_sim.core.errors import InputError
from bros_sim.plots import FigureSpec, style
from bros_sim.plots.cdf import LatencyCdf
from bros_sim.plots.lines import Attainment, Line
from bros_sim.plots.timeline import Timeline

RATE, SLO = made_up.RATE, made_up.SLO


@pytest.fixture(scope="module")
def results():
    return made_up.experiment(systems=["vLLM", "BROS"], rates=[2, 6], slos=[0.2, 0.4], seeds=2)


def one_slo(kind, **given) -> FigureSpec:
    return kind(**{"where": {SLO: 0.4}} | given)


EVERY = [
    Attainment(x=RATE),
    Attainment(x=SLO, by=RATE, y="ttft_attainment", title="By load"),
    Line(x=RATE, y="p99_e2el_ms", service_class="be"),
    LatencyCdf(metric="e2el"),
    one_slo(LatencyCdf, metric="tpot", service_class="all"),
    one_slo(Timeline, where={SLO: 0.4, RATE: 6}),
]


@pytest.mark.slow
@pytest.mark.parametrize("spec", EVERY, ids=lambda spec: plots.stem(spec, {SLO: (), RATE: ()}))
def test_the_same_figure_gives_the_same_bytes(spec, results):
    first, second = (plots.render(plots.draw(spec, results), "svg") for _ in range(2))
    assert first.startswith(b"<?xml")
    assert first == second


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "head"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_other_files_are_stable_too(kind, head, results):
    first, second = (plots.render(plots.draw(EVERY[-1], results), kind) for _ in range(2))
    assert first.startswith(head)
    assert first == second


def test_every_kind_is_drawn():
    assert {type(spec) for spec in EVERY} == set(plots.PLOTS.values())


def texts(figure) -> str:
    return "\n".join(re.sub(r"\s+", " ", t.get_text()) for t in figure.findobj(mpl.text.Text))


def test_attainment_shows_means_bands_and_the_ninety_line(results):
    figure = plots.draw(one_slo(Attainment, x=RATE), results)
    (panel,) = figure.axes
    assert figure.get_figwidth() == 3.5
    assert panel.get_ylim() == (0, 104)
    vllm, bros, ninety = panel.lines
    assert [vllm.get_label(), bros.get_label()] == ["vLLM", "BROS"]
    assert vllm.get_marker() != bros.get_marker()
    assert set(ninety.get_ydata()) == {90.0}

    table = results.table()
    chosen = table[(table["class"] == "rt") & (table["system"] == "BROS") & (table[SLO] == 0.4)]
    for n, rate in enumerate((2, 6)):
        sample = 100 * chosen.loc[chosen[RATE] == rate, "slo_attainment"]
        assert (bros.get_xdata()[n], bros.get_ydata()[n]) == (rate, pytest.approx(sample.mean()))
        half = stats.t.ppf(0.975, 1) * sample.std() / np.sqrt(2)
        edges = panel.collections[1].get_paths()[0].vertices
        edges = edges[edges[:, 0] == rate, 1]
        assert edges.max() == pytest.approx(min(100, sample.mean() + half))
        assert edges.min() == pytest.approx(max(1e-3 * sample.mean(), sample.mean() - half))
    told = int(table.loc[(table["class"] == "rt") & (table[SLO] == 0.4), "arrived"].sum())
    held = f"seeds 0, 1, 8 points, {told:,} requests, ttft_s = 0.4; band: 95 % t interval"
    assert held in texts(figure)
    assert "workload.chat.arrivals.rate_rps (req/s)" in texts(figure)
    assert "SLO attainment, real-time (%)" in texts(figure)


def test_runs_that_are_no_steady_state_have_open_markers(results):
    figure = plots.draw(one_slo(Attainment, x=RATE), results)
    table = results.table()
    table = table[(table["class"] == "rt") & (table[SLO] == 0.4)]
    for n, system in enumerate(("vLLM", "BROS")):
        mine = table[table["system"] == system]
        unsure = sorted(set(mine.loc[mine["saturation"] != "stable", RATE]))
        markers = figure.axes[0].collections[2 + n]
        assert markers.get_offsets()[:, 0].tolist() == unsure
        means = [100 * mine.loc[mine[RATE] == v, "slo_attainment"].mean() for v in unsure]
        assert markers.get_offsets()[:, 1].tolist() == pytest.approx(means)
    words = " or ".join(sorted(set(table["saturation"]) - {"stable"}))
    assert "too short" in words
    assert f"open: a run is {words}" in texts(figure)


def test_a_mean_of_percentiles_says_so(results):
    shown = one_slo(Line, x=RATE, y="p99_ttft_ms")
    assert "; band: 95 % t interval; means of the seeds' p99" in texts(plots.draw(shown, results))
    shown = one_slo(Line, x=RATE, y="mean_ttft_ms")
    assert "means of" not in texts(plots.draw(shown, results))


def test_the_band_over_draws_is_dashed_about_the_mean(results):
    table = results.table()
    draws = [
        table.assign(
            draw=2 * n + side, slo_attainment=table["slo_attainment"] - 0.01 * n * (-1) ** side
        )[table["seed"] == n % 2]
        for n in (1, 2)
        for side in (0, 1)
    ]
    uncertain = made_up.Experiment(results.points, drawn=pd.concat(draws))
    figure = plots.draw(one_slo(Attainment, x=RATE), uncertain)
    (panel,) = figure.axes
    vllm, bros, *edges, _ = panel.lines
    assert len(edges) == 4
    assert all(edge.get_linestyle() == "--" for edge in edges)
    for mean, pair in ((vllm, edges[:2]), (bros, edges[2:])):
        for edge, moved in zip(pair, (-2.0, 2.0), strict=True):
            assert edge.get_color() == mean.get_color()
            expected = np.clip(mean.get_ydata() + moved, 0, 100)
            np.testing.assert_allclose(edge.get_ydata(), expected)
    assert "dashed: middle 95 % of 4 draws" in texts(figure)
    assert "dashed" not in texts(plots.draw(one_slo(Attainment, x=RATE), results))


@pytest.mark.parametrize(
    ("plot", "y", "drawn"),
    [(Line, "ttft_attainment", True), (Attainment, "mean_kv_usage", False),
     (Line, "mean_ttft_ms", False)],
)  # fmt: skip
def test_the_ninety_line_stands_where_there_is_an_attainment(plot, y, drawn, results):
    figure = plots.draw(one_slo(plot, x=RATE, y=y), results)
    ninety = [art for art in figure.axes[0].lines if set(art.get_ydata()) == {90.0}]
    assert bool(ninety) == drawn
    assert ("90 %" in texts(figure)) == drawn


def test_the_note_says_which_seeds_points_and_values(results):
    cdf = texts(plots.draw(one_slo(LatencyCdf, where={SLO: 0.4, RATE: 6}), results))
    assert "seeds 0, 1, 4 points, " in cdf
    assert "ttft_s = 0.4, rate_rps = 6; seeds pooled" in cdf
    where = {"seed": 1, SLO: 0.4, RATE: 6}
    timeline = texts(plots.draw(one_slo(Timeline, where=where), results))
    assert "seed 1, 2 points, " in timeline
    assert style.held([3, 5, 4], 9, 1234, {}) == "seeds 3 to 5, 9 points, 1,234 requests"
    assert style.held(range(0, 20, 2), 1, 1, {}).startswith("seeds 0, 2, 4, 6, 8, 10, 12, 14, ...,")


def test_as_many_lines_as_markers_and_colours_allow_look_different():
    assert len({style.look(n) for n in range(64)}) == 64


def test_an_open_sweep_path_becomes_panels(results):
    figure = plots.draw(Attainment(x=RATE, title="Load"), results)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["ttft_s = 0.2", "ttft_s = 0.4"]
    assert "Load" in texts(figure)


def test_a_cdf_stays_below_one_hundred_when_requests_are_unserved(results):
    point = made_up.experiment(systems=["vLLM"], rates=[2], seeds=1).points[0]
    requests = point.tables.requests
    requests.loc[::2, "status"] = "unfinished"
    figure = plots.draw(LatencyCdf(metric="e2e"), made_up.Experiment([point]))
    top = {art.get_ydata().max() for art in figure.axes[0].lines if len(art.get_ydata()) > 2}
    assert all(20 < reached < 80 for reached in top)


def test_timeline_is_the_time_weighted_mean_of_the_steps(results):
    spec = one_slo(Timeline, where={SLO: 0.4, RATE: 6})
    figure = plots.draw(spec, results)
    assert len(figure.axes) == 6
    steps = next(p for p in results.points if p.labels[RATE] == 6).steps()
    busy = (steps["end_s"] - steps["start_s"]) * steps["running_rt"]
    stairs = figure.axes[0].patches[0].get_data()
    assert (stairs.values * np.diff(stairs.edges)).sum() == pytest.approx(busy.sum())


def test_kv_in_use_is_that_of_the_blocks_and_fits_the_card():
    point = made_up.experiment(systems=["vLLM"], rates=[2], seeds=1).points[0]
    steps = point.tables.steps
    steps["kv_tokens"] *= 1_000  # a prefix that all share counts once
    steps["kv_tokens_rt"] *= 1_000
    steps["free_blocks"] = 2_500
    figure = plots.draw(Timeline(), made_up.Experiment([point]))
    (low, high) = (patch.get_data().values for patch in figure.axes[2].patches)
    assert np.all(low <= high)
    assert high.max() == pytest.approx(75.0)  # of 10,000 blocks


def real_time_only() -> made_up.Experiment:
    point = made_up.experiment(systems=["vLLM"], rates=[2], seeds=1).points[0]
    point.tables.requests["class"] = "rt"
    point.tables.steps[["running_be", "waiting_be"]] = 0
    return made_up.Experiment([point])


@pytest.mark.parametrize("spec", [LatencyCdf(), Timeline()])
def test_only_classes_that_are_there_are_named(spec):
    figure = plots.draw(spec, real_time_only())
    assert "best-effort" not in texts(figure)
    labels = {label for axes in figure.axes for label in axes.get_legend_handles_labels()[1]}
    assert "best-effort" not in labels


@pytest.mark.parametrize(
    "spec",
    [LatencyCdf(service_class="be"), Attainment(x=RATE)],
)
def test_a_figure_of_nothing_is_left_out(spec):
    results = real_time_only()
    results.points[0].tables.requests[["ttft_slo_s", "tpot_slo_s"]] = np.nan
    assert "nothing to draw: no point has" in plots.nothing_to_draw(spec, results)
    with pytest.raises(InputError, match="nothing to draw"):
        plots.draw(spec, results)


@pytest.mark.parametrize("latency_s", [0.25, 0.0])
def test_a_cdf_of_equal_latencies(latency_s):
    results = real_time_only()
    requests = results.points[0].tables.requests
    requests["first_token_s"] = requests["arrival_s"] = 0.0
    requests["first_token_s"] += latency_s
    requests["ttft_slo_s"] = np.nan
    (panel,) = plots.draw(LatencyCdf(), results).axes
    low, high = panel.get_xlim()
    assert low <= latency_s < high


def test_a_cdf_shows_the_slowest_request_and_a_dotted_slo(results):
    figure = plots.draw(LatencyCdf(metric="e2e"), results)
    for panel in figure.axes:
        slowest = max(np.max(art.get_xdata()) for art in panel.lines if len(art.get_xdata()))
        assert slowest <= panel.get_xlim()[1]
    ttft = plots.draw(
        one_slo(
            LatencyCdf,
        ),
        results,
    ).axes[0]
    (slo,) = (art for art in ttft.lines if set(art.get_xdata()) == {0.4})
    assert slo.get_linestyle() == ":"


def boxes(figure, found) -> list:
    figure.canvas.draw()
    return [text.get_window_extent() for text in found if text.get_text()]


def apart(extents) -> bool:
    return not any(a.overlaps(b) for n, a in enumerate(extents) for b in extents[:n])


@pytest.mark.parametrize("values", [(28_000, 4_000, 2_000), (1, 6, 6.2, 7)])
def test_tick_labels_do_not_overlap(values):
    uneven = made_up.experiment(systems=["vLLM"], rates=[2] * len(values), seeds=1)
    points = [
        replace(point, labels={**point.labels, RATE: value})
        for point, value in zip(uneven.points, values, strict=True)
    ]
    figure = plots.draw(Attainment(x=RATE), made_up.Experiment(points))
    labels = boxes(figure, figure.axes[0].get_xticklabels())
    assert len(labels) > 1
    assert apart(labels)


def test_panel_titles_do_not_overlap():
    kinds = made_up.experiment(systems=["vLLM"], rates=range(2, 5), slos=[0.2, 0.4], seeds=1)
    figure = plots.draw(LatencyCdf(title="All"), kinds)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[0] == "rate_rps = 2\nttft_s = 0.2"
    assert apart(boxes(figure, [axes._left_title for axes in figure.axes]))


def test_large_values_are_written_out():
    big = made_up.experiment(systems=["vLLM"], rates=[2, 3], seeds=1)
    big.table()["total_token_throughput"] = 1_234_567.0
    figure = plots.draw(Line(x=RATE, y="total_token_throughput"), big)
    figure.canvas.draw()
    assert "1,000,000" in texts(figure)
    assert "1e6" not in texts(figure)


def test_file_names_say_which_stream():
    other = "workload.batch.arrivals.rate_rps"
    spec = Attainment(x=RATE, by=other)
    assert plots.stem(spec, {"system": ["a"], RATE: [1], SLO: [2]} | {other: [1]}) == (
        "attainment-chat.arrivals.rate_rps-batch.arrivals.rate_rps"
    )
    spec = replace(spec, by=None, y="e2e_attainment", service_class="be")
    assert plots.stem(spec, {"system": ["a"], RATE: [1]}) == (
        "attainment-e2e_attainment-be-rate_rps"
    )


def test_one_system_without_seeds_still_draws():
    alone = made_up.experiment(systems=["vLLM"], rates=[2], seeds=1)
    text = texts(plots.draw(Attainment(x=RATE), alone))
    assert "seed 0, 1 point, " in text
    assert "t interval" not in text


def test_failed_points_are_left_out(results):
    lost = replace(results.points[0], error="it broke")
    partly = made_up.Experiment([lost, *results.points[1:]])
    plots.draw(Attainment(x=RATE), partly)
    plots.draw(LatencyCdf(), partly)
    plots.draw(one_slo(Timeline, where={SLO: 0.2, RATE: 2}), partly)
    with pytest.raises(InputError, match="no such point succeeded"):
        plots.draw(one_slo(Attainment, x=RATE, where={}), made_up.Experiment([lost]))


@pytest.mark.parametrize(
    ("spec", "key", "says"),
    [
        (Attainment(x="workload.chat.arrivals.rate"), "x", f"mean '{RATE}'?"),
        (Attainment(x="system"), "x", "not a sweep path"),
        (Attainment(x=RATE, by="sytem"), "by", "did you mean 'system'?"),
        (Attainment(x=RATE, by=RATE), "by", "x axis already"),
        (Attainment(x=RATE, y="slo_atainment"), "y", "mean 'slo_attainment'?"),
        (Attainment(x=RATE, y="p99_ttft_ms"), "y", "other plots show any metric"),
        (Attainment(x=RATE, y="p99_e2el_ms"), "y", "other plots show any metric"),
        (Line(x=RATE, y="saturation"), "y", "not a number"),
        (Line(x=RATE, y="zzz"), "y", "bros-sim list metrics"),
        (LatencyCdf(metric="tfft"), "metric", "did you mean 'ttft'?"),
        (LatencyCdf(where={"rate": 2}), "where", "not a sweep path"),
        (LatencyCdf(where={RATE: 3}), "where", "known: 2, 6"),
        (Timeline(), "where", "fix values here"),
    ],
)
def test_a_figure_that_does_not_fit_is_refused(spec, key, says, results):
    faults = plots.find_faults(spec, plots.axes_of(results.points))
    assert [fault.path for fault in faults] == [(key,)]
    assert says in faults[0].text
    with pytest.raises(InputError, match=re.escape(says)):
        plots.draw(spec, results)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("{plot: atainment}", "figures.0.plot: there is no plot 'atainment' (did you mean 'attai"),
        ("{x: a}", "figures.0.plot: this key is missing"),
        ("{plot: attainment}", "figures.0.x: this key is missing"),
        ("{plot: line, x: a}", "figures.0.y: this key is missing"),
        ("{plot: attainment, x: a, metric: ttft}", "figures.0.metric: unknown key"),
        ("{plot: latency_cdf, x: a}", "figures.0.x: unknown key"),
        ("{plot: timeline, class: rt}", "figures.0.class: unknown key"),
    ],
)
def test_an_entry_that_is_no_figure_is_refused(entry, says):
    with pytest.raises(InputError, match=re.escape(says)):
        plots.read(parse(f"figures: [{entry}]", "an.yaml"), ("figures", 0))


def test_an_entry_is_read_with_the_keys_of_its_kind():
    text = "figures: [{plot: line, x: a, y: p99_ttft_ms, class: be, title: T}]"
    spec = plots.read(parse(text, "an.yaml"), ("figures", 0))
    assert spec == Line(x="a", y="p99_ttft_ms", service_class="be", title="T")


def test_drawing_leaves_matplotlib_as_it_was(results):
    before = dict(mpl.rcParams)
    plots.render(plots.draw(EVERY[0], results), "png")
    assert dict(mpl.rcParams) == before
