"""`sweep.until`: seeds are added until intervals are narrow enough, the same way each time."""

import json
import shutil
import sys

import pandas as pd
import pytest
from ruamel.yaml import YAML
from scipy import stats

import bros_sim as bs
from bros_sim.config import override, parse
from bros_sim.core.errors import InputError
from bros_sim.experiment import load
from bros_sim.metrics.measures import Measure, Width
from bros_sim.schedulers.vllm import VllmScheduler
from bros_sim.study.sweep import Cell
from tests.cli.test_run import FRAGILE, PLAIN, contents

pytestmark = pytest.mark.slow

SHORT = PLAIN.replace("duration_s: 5", "duration_s: 2")
RATE = "workload.chat.arrivals.rate_rps"
UNTIL = "sweep={grid: {%s: [2, 8]}, seeds: 5, until: {half_width: {%s}, max_seeds: %d}}"


def asking(width, most=12, measure="mean_ttft_ms[rt]"):
    """What makes the small experiment ask for it."""
    return ("--set", UNTIL % (RATE, f'"{measure}": {width}', most))


@pytest.fixture
def tiny(tiny):
    """The small experiment, shorter and without figures."""
    tiny.write_text(SHORT)
    return tiny


def yaml_of(asked):
    """The same as `bs.load` takes it."""
    return YAML(typ="safe").load(asked[1].removeprefix("sweep="))


def loaded(*changes):
    document = parse(SHORT, "e.yaml")
    for change in changes:
        document = override(document, change)
    return load(document)


def seeds_of(folder):
    table = pd.read_csv(folder / "summary.csv")
    return table.groupby(["system", RATE])["seed"].nunique()


def half_widths(folder):
    table = pd.read_csv(folder / "summary.csv").query("`class` == 'rt'")
    grouped = table.groupby(["system", RATE])["mean_ttft_ms"]
    return grouped.agg(lambda v: stats.t.ppf(0.975, len(v) - 1) * stats.sem(v))


def test_seeds_are_added_only_where_the_interval_is_wide(bros, tiny, tmp_path):
    plain = bros("run", tiny, *asking(1000))
    assert plain.exit_code == 0, plain.output
    folder = tmp_path / "results" / "tiny"
    assert set(seeds_of(folder)) == {5}
    halves = half_widths(folder)
    low, high = (halves.xs(rate, level=RATE).max() for rate in (2, 8))
    width = (low + high) / 2  # one of the loads is to get more, the other is fine
    wide = 2 if low > high else 8

    result = bros("run", tiny, *asking(width))
    assert result.exit_code == 0, result.output
    assert "20 points already in" in result.stderr
    counts = seeds_of(folder)
    assert (counts.xs(10 - wide, level=RATE) == 5).all()
    more = counts.xs(wide, level=RATE)
    assert more.nunique() == 1  # the systems keep the same seeds
    assert 5 < more.iloc[0] <= 12
    assert half_widths(folder).max() <= width or more.iloc[0] == 12
    assert f"means over 5 to {more.iloc[0]} seeds" in result.stdout

    places = "2 points of the grid" if more.iloc[0] == 5 else "1 point of the grid"
    assert f"wider than sweep.until asks at {places}" in result.stderr

    before = contents(folder)
    again = bros("run", tiny, *asking(width))
    assert (again.stdout, contents(folder)) == (result.stdout, before)


def test_the_same_bytes_on_more_workers_and_after_an_interruption(bros, tiny, tmp_path):
    asked = asking("6 %", most=40)
    first = bros("run", tiny, *asked, "--workers", 1, "--out", "one")
    assert first.stderr.count("with more seeds") == 2  # rounds
    before = contents(tmp_path / "one" / "tiny")
    assert max(seeds_of(tmp_path / "one" / "tiny")) < 40
    result = bros("run", tiny, *asked, "--workers", 2)
    folder = tmp_path / "results" / "tiny"
    assert contents(folder) == before
    assert result.exit_code == 0, result.output
    for lost in sorted((folder / "points").iterdir())[::3]:  # of all rounds
        shutil.rmtree(lost)
    assert bros("run", tiny, *asked, "--workers", 2).exit_code == 0
    assert contents(folder) == before


def test_from_python_and_in_a_comparison(bros, tiny, tmp_path):
    asked = asking("6 %", most=9)
    bros("run", tiny, *asked)
    before = contents(tmp_path / "results" / "tiny")
    found = bs.sweep(bs.load(tiny, {"sweep": yaml_of(asked)}), tmp_path / "python", workers=1)
    mine = contents(tmp_path / "python" / "tiny")
    assert mine == before
    means = bs.means(found)
    ttft = means[(means["metric"] == "mean_ttft_ms") & (means["class"] == "rt")]
    counts = dict(zip(ttft[RATE], ttft["seeds"], strict=True))
    told = bros("compare", "results/tiny", "--metric", "mean_ttft_ms[rt]", "--format", "json")
    rows = json.loads(told.stdout)["comparisons"]
    assert {row[RATE]: row["seeds"] for row in rows} == counts
    assert len(set(counts.values())) == 2


def test_what_stays_too_wide_is_said(bros, tiny):
    result = bros("run", tiny, *asking("0.01 %", most=6))
    assert result.exit_code == 0, result.output
    warnings = [line for line in result.stderr.splitlines() if "after 6 seeds" in line]
    assert len(warnings) == 4
    assert warnings[0].startswith("warning: system=FCFS, rate_rps=2: mean_ttft_ms[rt] ")
    assert warnings[0].endswith("after 6 seeds, 0.01 % was asked")


def test_what_has_no_interval_is_said(bros, tiny):
    result = bros("run", tiny, *asking("5 %", measure="slo_attainment[be]"))
    assert result.exit_code == 0, result.output
    says = "slo_attainment[be] has no interval: not two of 5 seeds have a value"
    assert f"warning: system=FCFS, rate_rps=2: {says}" in result.stderr
    assert result.stderr.count(says) == 4


def test_a_failed_run_gets_no_more_seeds_until_it_runs(bros, tiny, tmp_path, monkeypatch):
    (tmp_path / "brittle_policy.py").write_text(FRAGILE)
    mine = "systems.Priority.scheduler={kind: 'brittle_policy:Fragile'}"
    asked = (*asking("0.01 %", most=6), "--set", mine)
    result = bros("run", tiny, *asked)
    assert result.exit_code == 1
    assert "sweep.until" not in result.stderr
    assert "no interval" not in result.stderr
    assert set(seeds_of(tmp_path / "results" / "tiny")) == {5}
    monkeypatch.setattr(sys.modules["brittle_policy"].FragileScheduler, "plan", VllmScheduler.plan)
    assert bros("run", tiny, *asked).exit_code == 1
    assert bros("run", tiny, *asked, "--retry-failed").exit_code == 0
    assert set(seeds_of(tmp_path / "results" / "tiny")) == {6}


def test_a_capacity_search_leaves_it_aside_with_a_word(bros, tiny):
    few = ("--seeds", "3", "--precision", "1", "--target", "mean_ttft_ms[rt] <= 30")
    result = bros("capacity", tiny, *asking(1), "--vary", RATE, *few)
    assert result.exit_code == 0, result.output
    assert "warning: sweep.until is left aside" in result.stderr


def test_more_seeds_are_the_points_that_the_file_would_have():
    retention = "outputs.be_retention=true"
    few, many = loaded("sweep.seeds=2", retention), loaded("sweep.seeds=4", retention)
    more = [point for one in few.points[::2] for point in (one, *Cell([one]).more(4))]
    assert [p.labels for p in more] == [p.labels for p in many.points]
    assert [p.key for p in more] == [p.key for p in many.points]
    assert [p.baseline.key for p in more] == [p.baseline.key for p in many.points]
    assert Cell(few.points[:2]).more(2) == []


def test_how_much_too_wide():
    ttft = Measure("mean_ttft_ms", "rt")
    assert Width.parse(ttft, 20.0).excess(100.0, 30.0) == 1.5
    assert Width.parse(ttft, "5 %").excess(100.0, 2.5) == 0.5
    assert Width.parse(ttft, "5%").excess(0.0, 0.0) == 0


@pytest.mark.parametrize(
    ("sweep", "says"),
    [
        ("{seeds: 5, until: {half_width: {ttft: 1}}}", "half_width.ttft: there is no metric"),
        (
            "{seeds: 5, until: {half_width: {slo_attainment: much}}}",
            "half_width.slo_attainment: write a number above 0 (share), or as in '5 %'",
        ),
        ("{seeds: 5, until: {half_width: {slo_attainment: -1}}}", "write a number above 0"),
        ("{seeds: 5, until: {half_width: {slo_attainment: .nan}}}", "half_width.slo_attainment: "),
        ("{seeds: 5, until: {half_width: {slo_attainment: .inf}}}", "half_width.slo_attainment: "),
        ("{seeds: 5, until: {half_width: {slo_attainment: 0 %}}}", "write a number above 0"),
        ("{seeds: 5, until: {half_width: {}}}", "sweep.until.half_width: "),
        (
            "{until: {half_width: {slo_attainment: 0.1}}}",
            "sweep: seeds has to be from 5 to until.max_seeds",
        ),
        (
            "{seeds: 9, until: {half_width: {slo_attainment: 0.1}, max_seeds: 8}}",
            "sweep.seeds: seeds has to be from 5 to until.max_seeds",
        ),
    ],
)
def test_what_cannot_be_asked_is_said(sweep, says):
    with pytest.raises(InputError) as error:
        loaded(f"sweep={sweep}")
    assert says in "\n".join(error.value.lines)
