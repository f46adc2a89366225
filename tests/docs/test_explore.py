"""notebooks/explore.py: it runs as a plain script on real results, and shows their numbers."""

import importlib.util
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from doc_blocks import ROOT

import bros_sim as bs
from bros_sim.metrics.intervals import half_width

pytestmark = pytest.mark.slow

mo = pytest.importorskip("marimo", reason="needs marimo: pip install 'bros-sim[explore]'")

RATE = "workload.chat.arrivals.rate_rps"
EXPERIMENT = f"""\
name: swept
duration_s: 4
warmup_s: 1
cluster: {{profile: a100-80gb/llama-3-8b-tp1}}
workload:
  chat:
    class: rt
    arrivals: {{kind: poisson, rate_rps: 4}}
    lengths: {{kind: fixed, prompt: 64, output: 8}}
    slo: {{ttft_s: 0.05, tpot_s: 0.1}}
systems:
  first: {{scheduler: {{kind: vllm}}, kv: {{kind: paged}}}}
  second: {{scheduler: {{kind: vllm, max_num_seqs: 1}}, kv: {{kind: paged}}}}
sweep: {{grid: {{{RATE}: [4, 8], workload.chat.slo.ttft_s: [0.05, 0.1]}}, seeds: 3}}
"""
NOTEBOOK = ROOT / "notebooks" / "explore.py"


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Results of a small sweep."""
    return bs.sweep(bs.loads(EXPERIMENT), tmp_path_factory.mktemp("results"), workers=1)


@pytest.fixture(scope="module")
def explore():
    """The notebook as a module; no cell has run."""
    spec = importlib.util.spec_from_file_location("explore", NOTEBOOK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def seen(explore, monkeypatch, folder, **choices):
    """What the cells define, with these choices."""
    monkeypatch.setattr(sys, "argv", ["explore.py", "--results", str(folder)])
    _, found = explore.app.run()
    if not choices:
        return found
    names = ("axes", "chosen", "latency", "means", "metric", "of", "results", "table", "x")
    made = {name: mo.ui.dropdown([value], value) for name, value in choices.items()}
    kept = {name: found[name] for name in names}
    return explore.app.run(defs=kept | made)[1]


def test_it_runs_as_a_script_and_fails_with_its_cells(swept, tmp_path):
    line = [sys.executable, str(NOTEBOOK), "--", "--results", str(swept.folder)]
    done = subprocess.run(line, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    broken = tmp_path / "broken.py"
    text = NOTEBOOK.read_text()
    broken.write_text(text.replace("bs.means(results)\n", "bs.mean(results)\n"))
    line[1] = str(broken)
    assert subprocess.run(line, check=False, capture_output=True, text=True).returncode != 0


def test_the_numbers_are_those_of_the_summary(explore, monkeypatch, swept):
    found = seen(explore, monkeypatch, swept.folder)
    rows = found["rows"].set_index(["system", RATE])
    assert len(rows) == 4
    assert set(rows["workload.chat.slo.ttft_s"]) == {0.05}  # the other axis has its first value
    table = swept.table()
    table = table[(table["class"] == "rt") & (table["workload.chat.slo.ttft_s"] == 0.05)]
    for place, mine in table.groupby(["system", RATE]):
        sample = mine["slo_attainment"].to_numpy(float)
        row = rows.loc[place]
        assert row["mean"] == pytest.approx(sample.mean())
        assert row["high"] - row["mean"] == pytest.approx(half_width(sample))
        assert row["seeds"] == 3
        assert row["load"] == ", ".join(dict.fromkeys(mine["saturation"]))
    panel = found["figure"].axes[0]
    assert panel.get_legend().get_texts()[0].get_text().startswith("first, 4, 0.05: ")


def test_what_is_no_steady_state_has_an_open_mark(explore, swept):
    rows = explore.shown(bs.means(swept), "slo_attainment", "rt")
    rows = rows[rows["workload.chat.slo.ttft_s"] == 0.1].assign(load=["stable", "too short"] * 2)
    (panel,) = explore.chart(rows, RATE, "slo_attainment", "rt").axes
    drawn = [line for line in panel.lines if line.get_markerfacecolor() == "white"]
    assert [line.get_xdata().tolist() for line in drawn] == [[8], [8]]


def test_the_requests_of_a_point_are_those_that_count(explore, swept):
    row = {"system": "second", RATE: 8, "workload.chat.slo.ttft_s": 0.1}
    found, arrived = explore.latencies(swept, row, "ttft_s", "rt")
    mine = [p for p in swept.points if row.items() <= dict(p.labels).items()]
    assert len(mine) == 3
    assert arrived == sum(point.summary["rt"]["arrived"] for point in mine)
    requests = pd.concat([point.requests() for point in mine])
    assert arrived < len(requests)  # those of the warm-up are out
    counted = requests[requests["arrival_s"] >= 1]["ttft_s"]
    assert np.array_equal(found, np.sort(counted.to_numpy()))


def test_other_choices_and_no_results(explore, monkeypatch, swept, tmp_path):
    found = seen(explore, monkeypatch, swept.folder, metric="p99_ttft_ms", x="system", of="all")
    assert len(found["rows"]) == 2  # both axes have their first value
    assert found["rows"]["mean"].gt(1).all()
    found = seen(explore, monkeypatch, swept.folder, of="be")
    assert found["rows"].empty  # nobody has an SLO there
    assert not found["figure"].axes[0].lines
    assert "rows" not in seen(explore, monkeypatch, tmp_path / "nowhere")
