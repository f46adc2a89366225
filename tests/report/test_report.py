"""The page as a file: its numbers, its size, what it escapes, and what is refused."""

import dataclasses
import json
import re
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import vl_convert
from reported import EVIL, IMAGE, finish
from typer.testing import CliRunner

from bros_sim.cli import app
from bros_sim.metrics.intervals import half_width
from bros_sim.plots.spec import axes_of
from bros_sim.report import page
from bros_sim.report.data import attainment_rows, layout_of, pareto_rows
from bros_sim.report.page import MAX_BYTES, render_page
from bros_sim.study.results import ResultSet
from bros_sim.study.store import open_results

pytestmark = pytest.mark.slow

RATE, SLO = "workload.chat.arrivals.rate_rps", "workload.chat.slo.ttft_s"


def data_of(text: str) -> dict:
    return json.loads(re.search(r'id="page-data">(.*?)</script>', text, re.DOTALL)[1])


@pytest.fixture(scope="module")
def text(page):
    return page.read_text(encoding="utf-8")


def report(folder):
    return CliRunner().invoke(app, ["report", str(folder)])


def test_it_is_one_file_of_bounded_size_and_always_the_same(page, finished):
    before = page.read_bytes()
    assert len(before) < MAX_BYTES == 3_000_000
    assert report(finished).exit_code == 0
    assert page.read_bytes() == before


def test_it_refers_to_nothing_outside(text):
    markup = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#)""", markup)
    assert "@import" not in markup
    assert "url(" not in markup
    assert "default-src 'none'" in markup


def test_names_and_texts_are_escaped(text):
    assert EVIL not in text
    assert IMAGE not in text
    assert "&lt;/script&gt;&lt;script&gt;window.hacked=1&lt;/script&gt;" in text
    assert data_of(text)["systems"] == [EVIL, IMAGE]


def test_the_attainment_curve_is_that_of_the_summary(text, finished):
    table = pd.read_csv(finished / "summary.csv")
    rows = data_of(text)["data"]["attainment"]
    assert len(rows) == 8
    row = next(r for r in rows if r["system"] == IMAGE and r["x"] == 16 and r["cell"] == "1")
    mine = table[(table["class"] == "rt") & (table["system"] == IMAGE)]
    sample = 100 * mine.loc[(mine[RATE] == 16) & (mine[SLO] == 0.1), "slo_attainment"].to_numpy()
    assert row["y"] == pytest.approx(sample.mean(), rel=1e-3)
    assert row["seeds"] == 2
    assert row["high"] == pytest.approx(min(100, sample.mean() + half_width(sample)), rel=1e-3)
    assert row["low"] == pytest.approx(max(0, sample.mean() - half_width(sample)), rel=1e-3)
    half = f"{sample.mean():.1f} ± {half_width(sample):.1f}"
    assert f"<td>{half}</td>" in text
    assert "means over 2 seeds, ± half of the 95 % interval" in text


def test_marks_are_open_where_a_run_is_no_steady_state(text):
    charts = {chart["name"]: chart["spec"] for chart in data_of(text)["charts"]}
    (marks,) = (one for one in charts["attainment"]["layer"] if one["mark"]["type"] == "point")
    test = "datum.load === 'stable'"
    assert marks["encoding"]["fillOpacity"] == {"condition": {"test": test, "value": 1}, "value": 0}
    assert {row["load"] for row in data_of(text)["data"]["attainment"]} - {"stable"}


def test_the_band_over_draws_stays_between_0_and_100():
    rows = [("A", 0, 0, 0.95), ("A", 1, 0, 0.85), ("A", 0, 1, 1.0), ("A", 1, 2, 0.35)]
    table = pd.DataFrame(rows, columns=["system", "seed", "draw", "slo_attainment"], dtype=object)
    table = table.assign(**{"class": "rt", "error": "", "saturation": "stable"})
    nominal, draws = table[table["draw"] == 0], table[table["draw"] > 0]
    layout = layout_of({"system": ["A"], "seed": [0, 1]})
    (row,) = attainment_rows(nominal, draws, layout, "rt")
    assert row["y"] == 90
    assert (row["least"], row["most"]) == (40, 95)
    draws = draws.assign(slo_attainment=[1.2, -0.8])
    (row,) = attainment_rows(nominal, draws, layout, "rt")
    assert (row["least"], row["most"]) == (0, 100)


def test_the_pareto_marks_what_nobody_beats(text):
    rows = data_of(text)["data"]["pareto"]
    for row in rows:
        beside = [r for r in rows if (r["cell"], r["at"]) == (row["cell"], row["at"])]
        beaten = any(
            r["rt"] >= row["rt"] and r["be"] >= row["be"] and r is not row and
            (r["rt"] > row["rt"] or r["be"] > row["be"])
            for r in beside
        )  # fmt: skip
        assert row["best"] is not beaten
    assert {row["best"] for row in rows} == {True, False}


def test_a_cdf_holds_the_quantiles_of_all_seeds(text, finished):
    rows = data_of(text)["data"]["cdf"]
    row = next(
        r for r in rows
        if (r["system"], r["at"], r["cell"]) == (EVIL, 1, "0")
        and (r["class"], r["metric"]) == ("rt", "ttft")
    )  # fmt: skip
    results, _ = open_results(finished)
    wanted = {"system": EVIL, RATE: 16, SLO: 0.05}
    tables = [p.requests() for p in results.points if wanted.items() <= p.labels.items()]
    values = pd.concat(tables).query("`class` == 'rt'")["ttft_s"]
    assert len(tables) == 2
    assert np.interp(50, row["p"], row["v"]) == pytest.approx(values.median(), rel=0.05)
    assert row["p"][-1] == 100
    assert row["slo"] == 0.05


def test_a_timeline_keeps_the_area_of_the_steps(text, finished):
    row = data_of(text)["data"]["timeline"][0]
    results, _ = open_results(finished)
    steps = results.points[0].steps()
    width = row["end"] / len(row["t"])
    for service_class in ("rt", "be"):
        area = ((steps["end_s"] - steps["start_s"]) * steps[f"running_{service_class}"]).sum()
        assert sum(row[f"batch_{service_class}"]) * width == pytest.approx(area, rel=0.01)
    assert row["seed"] == 3


def test_the_charts_compile(text):
    made = data_of(text)
    names = [chart["name"] for chart in made["charts"]]
    assert names == [
        "attainment", "pareto", "cdf-ttft", "cdf-tpot", "cdf-e2e", "timeline-batch",
        "timeline-queue", "timeline-kv",
    ]  # fmt: skip
    for chart in made["charts"]:
        spec = chart["spec"] | {"datasets": {}}
        assert vl_convert.vegalite_to_vega(spec)["marks"]


def test_words_are_on_the_page(text, finished):
    plain = re.sub(r"<[^>]+>", " ", text)
    for words in (
        "2 systems, 16 points, 2 seeds (3, 4)", "Is it a steady state?", "Kernel-calibrated",
        "scheduler:", "num_gpu_blocks", "as it was given", "mirrors vLLM", "sha256 of",
    ):  # fmt: skip
        assert words in plain, words
    assert "bros-sim 0" in plain
    assert "rate@90" in plain or not (finished / "capacity.csv").exists()


PLAIN = """
name: plain
duration_s: 2
drain_s: 20
cluster: {profile: a100-80gb/llama-3-8b-tp1}
workload:
  %(stream)s
systems: {vLLM: {scheduler: {kind: vllm}, kv: {kind: paged}}}
"""
STREAM = """batch: {class: be, arrivals: {kind: poisson, rate_rps: 4},
    lengths: {kind: fixed, prompt: 90, output: 9}%s}"""


@pytest.mark.parametrize(
    ("stream", "more", "charts"),
    [
        (STREAM % "", "", 6),
        (STREAM % ", slo: {e2e_s: 9}", "", 7),
        (STREAM % ", slo: {e2e_s: 9}", "sweep: {grid: {cluster.num_gpu_blocks: [null, 700]}}", 7),
    ],
    ids=["nothing to attain", "best effort alone", "a sweep of what is no number"],
)
def test_what_there_is_not_is_left_out(tmp_path, stream, more, charts):
    folder = finish(tmp_path, PLAIN % {"stream": stream} + more)
    result = report(folder)
    assert result.exit_code == 0, result.output
    made = data_of((folder / "report.html").read_text(encoding="utf-8"))
    assert len(made["charts"]) == charts
    if more:
        assert [row["x"] for row in made["data"]["attainment"]] == ["None", "700"]


def test_a_run_that_failed_altogether_has_a_page(finished):
    results, provenance = loaded(finished)
    points = [dataclasses.replace(p, summary={}, error="no luck <b>") for p in results.points]
    failed = ResultSet(results.name, results.folder, points)
    text = render_page(failed, provenance, pd.DataFrame()).decode()
    assert "no luck &lt;b&gt;" in text
    assert data_of(text)["charts"] == []


def loaded(folder):
    results, _ = open_results(folder)
    return results, json.loads((folder / "provenance.json").read_text())


def test_a_big_sweep_stays_small_and_says_what_it_leaves_out(finished):
    """1,600 points: a stored one of each system under 800 loads."""
    results, provenance = loaded(finished)
    one = {"seed": 3, SLO: 0.1, RATE: 4}
    few = [point for point in results.points if one.items() <= point.labels.items()]
    points = [
        dataclasses.replace(p, labels={**p.labels, RATE: 1 + n / 7})
        for p in few
        for n in range(800)
    ]
    big = ResultSet("big", results.folder, points)
    page = render_page(big, provenance, pd.DataFrame())
    assert len(page) < MAX_BYTES
    text = page.decode()
    assert "Curves show the first 750 of 800 settings." in text
    assert "Latencies and timelines are of 20 of 800 settings." in text
    assert "The first 400 of" in text


def test_pareto_needs_both_classes(finished):
    results, _ = loaded(finished)
    points = [
        dataclasses.replace(p, summary={k: v for k, v in p.summary.items() if k != "be"})
        for p in results.points
    ]
    only = ResultSet("rt", results.folder, points)
    assert pareto_rows(only.table(), layout_of(axes_of(only.points))) == []


def test_without_the_extra_it_says_what_to_install(finished, monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.startswith("bros_sim.report")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    result = report(finished)
    assert result.exit_code == 2
    assert "pip install 'bros-sim[report]'" in result.stderr


def test_a_damaged_result_leaves_the_page_alone(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "damaged")
    (folder / "report.html").write_text("old")
    for path in folder.glob("points/*/steps.parquet"):
        path.write_bytes(b"no")
    result = report(folder)
    assert result.exit_code == 2
    assert "damaged, run it again" in result.stderr
    assert (folder / "report.html").read_text() == "old"
    assert report(tmp_path / "nothing").exit_code == 2


def test_the_library_cannot_end_its_script():
    assert "</script" not in page._library().lower()
