"""The comparison of all policies: its places, its rules, and the document that is made of it.

No policy is expected to win: the rules are tested on made-up tables.
"""

import re
import subprocess
import sys
from itertools import product

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmarks.rivals.advice import advice, standings
from benchmarks.rivals.evidence import MEASURES, Comparison, measures
from benchmarks.rivals.places import LOADS, PLACES
from benchmarks.rivals.report import document
from bros_sim.cli import app
from bros_sim.config import read_yaml
from bros_sim.core.data_files import data_path

ROOT = data_path("experiments").parent
FILE = ROOT / "experiments" / "rivals.yaml"
SCATTER = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])


def made_up(**systems: tuple[float, float] | dict[str, tuple[float, float]]) -> pd.DataFrame:
    """Two places at three loads, five seeds with the same luck for all: (attainment, retention)."""
    rows = []
    for (name, chosen), place, load in product(systems.items(), ("a", "b"), LOADS):
        rt, be = chosen[load] if isinstance(chosen, dict) else chosen
        for seed, luck in enumerate(SCATTER):
            own = {"rt_attainment": rt + luck, "be_retention": be - luck}
            labels = {"place": place, "load": load, "rate": 1.0, "system": name, "seed": seed}
            blank = dict.fromkeys(MEASURES, 0.0)
            rows.append({**labels, **blank, **own, "saturation": "stable"})
    return pd.DataFrame(rows)


def one_case(**systems: tuple[float, float]) -> Comparison:
    table = made_up(**systems)
    return Comparison(table[(table["place"] == "a") & (table["load"] == "overload")])


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_a_place_is_without_fault(place):
    settings = [f"{path}={value}" for path, value in place.settings.items()]
    options = [part for setting in settings for part in ("--set", setting)]
    result = CliRunner().invoke(app, ["check", str(FILE), *options])
    assert result.exit_code == 0, result.output
    assert f"rivals-{place.name}: " in result.stdout
    assert list(place.rates) == sorted(place.rates)


def test_two_workloads_on_three_machines_at_three_loads_with_five_seeds():
    assert len({(place.machine, place.workload) for place in PLACES}) == 6
    assert all(len(place.rates) == len(LOADS) for place in PLACES)
    assert read_yaml(FILE).data["sweep"]["seeds"] >= 5
    assert next(iter(read_yaml(FILE).data["systems"])) == "vLLM FCFS"


def test_better_in_one_class_and_worse_in_none_beats():
    case = one_case(plain=(0.6, 0.5), more_rt=(0.7, 0.5), other=(0.5, 0.9))
    assert case.beats("more_rt", "plain")
    assert not case.beats("plain", "more_rt")
    assert not case.beats("other", "plain")
    assert case.beaten_by() == {"plain": ["more_rt"], "more_rt": [], "other": []}


def test_less_than_the_margin_counts_for_nothing_however_sure():
    assert not one_case(a=(0.6, 0.5), b=(0.6049, 0.5)).beats("b", "a")
    assert one_case(a=(0.6, 0.5), b=(0.6051, 0.5)).beats("b", "a")


def test_what_the_seeds_leave_open_counts_for_nothing():
    table = made_up(a=(0.6, 0.5), b=(0.62, 0.5))
    table.loc[table["system"] == "b", "rt_attainment"] += (
        2 * table["seed"].map(dict(enumerate([1, -1, 0, 1, -1]))) / 10
    )
    part = table[(table["place"] == "a") & (table["load"] == "light")]
    assert not Comparison(part).beats("b", "a")


def test_pairing_by_seed_sees_what_the_scatter_hides():
    """A seed is lucky for all: the intervals of the means overlap, the difference is sure."""
    assert one_case(a=(0.6, 0.5), b=(0.61, 0.5)).beats("b", "a")


def test_leaders_are_those_whom_nobody_on_the_front_surpasses():
    case = one_case(rt=(0.9, 0.1), tie=(0.9, 0.1), be=(0.2, 0.8), between=(0.5, 0.5))
    front = ["rt", "tie", "be", "between"]
    assert case.leaders("rt_attainment", front) == ["rt", "tie"]
    assert case.leaders("be_retention", front) == ["be"]


def sentences(**systems) -> dict[str, str]:
    table = made_up(**systems)
    return {name: advice(name, found, table) for name, found in standings(table).items()}


def test_each_sentence_follows_from_the_standing():
    said = sentences(rt=(0.9, 0.1), be=(0.2, 0.8), between=(0.5, 0.5), beaten=(0.4, 0.4))
    assert said["rt"].startswith(
        "Choose it when RT must not be late: no one serves more RT in time"
    )
    assert "in 4 of 4 hard cases; median 90 % of RT in time and 10 % of BE kept" in said["rt"]
    assert said["be"].startswith("Choose it when batch work must go on: no one keeps more BE")
    assert said["between"].startswith("A compromise: unbeaten in 4 of 4 hard cases")
    assert said["beaten"] == (
        "No reason to choose it in any of 4 hard cases: between beats it in 6 of 6 cases, "
        "light ones included."
    )


def test_who_leads_in_both_classes_is_to_be_chosen_and_light_load_decides_nothing():
    light, hard = (0.9, 0.9), (0.5, 0.5)
    said = sentences(
        best={"light": hard, "near saturation": light, "overload": light},
        easy={"light": light, "near saturation": hard, "overload": hard},
    )
    assert said["best"].startswith("Choose it: first in both classes in 4 of 4 hard cases")
    assert said["easy"].startswith("No reason to choose it")


def test_leading_in_rt_counts_only_where_half_of_it_is_in_time():
    said = sentences(less=(0.3, 0.1), more=(0.4, 0.1), batch=(0.2, 0.8))
    assert said["more"].startswith("A compromise: unbeaten in 4 of 4 hard cases, seldom first")


def test_retention_has_one_yardstick():
    """BE tokens/s over those of vLLM FCFS alone, whatever a system does alone itself."""
    rows = []
    for system, served, kept in (("vLLM FCFS", 600.0, 0.5), ("slow alone", 540.0, 0.9)):
        labels = {"place": "a", "load": "light", "rate": 1.0, "system": system, "seed": 1}
        counts = {"arrived": 10, "kv_slots": 160, "kv_blocks": 10, "recomputed_tokens": 50}
        counts |= {"swapped_blocks": 3, "checkpointed_slots": 12, "saturation": "stable"}
        for name in ("rt", "be", "all"):
            metrics = {"slo_attainment": 0.7, "token_slo_attainment_deadline": 0.8}
            metrics |= {"p99_ttft_ms": 1500.0, "longest_wait_ms": 2500.0, "be_retention": kept}
            metrics["output_throughput_steady"] = served
            rows.append({**labels, "class": name, **counts, **metrics})
    found = measures(pd.DataFrame(rows)).set_index("system").loc["slow alone"]
    assert found["be_retention"] == pytest.approx(540 / 1200)
    assert found["of_its_own"] == 0.9
    assert (found["recomputed"], found["moved"]) == (5.0, 6.0)
    assert (found["p99_ttft_s"], found["longest_be_wait_s"]) == (1.5, 2.5)


def test_the_tables_compare_in_points_and_mark_what_is_sure():
    table = made_up(**{"vLLM FCFS": (0.6, 0.5), "more": (0.7, 0.5)})
    table = table.replace({"place": {"a": PLACES[0].name, "b": PLACES[1].name}})
    text = document(table, PLACES[:2], ["x", "y"], {"vLLM FCFS": "vLLM", "more": "nothing"})
    rows = [line for line in text.partition("## All places")[2].splitlines() if "| more |" in line]
    assert len(rows) == 6
    assert "| **+10.0** [+10.0, +10.0] |" in rows[0]
    assert "| +0.0 [+0.0, +0.0] |" in rows[0]
    assert not re.search(r"\bnan\b|[{}]", text)


@pytest.mark.slow
def test_one_command_runs_what_is_missing_and_writes_the_document(tmp_path):
    two = (
        "{vLLM FCFS: {scheduler: {kind: vllm}, kv: {kind: paged}}, "
        "TGI: {scheduler: {kind: tgi}, kv: {kind: reserved}}}"
    )
    short = ("duration_s=6", "warmup_s=1", "drain_s=5", "sweep.seeds=2", f"systems={two}")
    options = [part for change in short for part in ("--set", change)]
    written = tmp_path / "docs" / "rivals.md"
    command = [sys.executable, "-m", "benchmarks.rivals", tmp_path / "results", written]
    line = [str(part) for part in (*command, "--place", "opt-summaries", *options)]
    subprocess.run(line, cwd=ROOT, check=True)
    text = written.read_text()
    assert [row[3:] for row in text.splitlines() if row.startswith("## ")] == [
        "When to choose which", "All places",
    ]  # fmt: skip
    table = pd.read_csv(tmp_path / "results" / "rivals-opt-summaries" / "summary.csv")
    rt = table[(table["class"] == "rt") & (table["system"] == "TGI")]
    rates = sorted(table["workload.chat.arrivals.rate_rps"].unique())
    shares = [
        100 * rt[rt["workload.chat.arrivals.rate_rps"] == r]["slo_attainment"].mean() for r in rates
    ]
    rows = [line for line in text.partition("## All")[2].splitlines() if line.startswith("| TGI |")]
    assert [row.split(" | ")[1] for row in rows] == [f"{share:.1f}" for share in shares]
    figures = sorted(path.name for path in (tmp_path / "docs" / "figures").iterdir())
    assert figures == ["rivals-near-saturation.png", "rivals-overload.png"]
